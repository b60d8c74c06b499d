"""The one folder that holds all state of searches, and what lies where in it."""

from dataclasses import dataclass
from pathlib import Path

from search.library_internals import in_ray_job
from sermodels.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Home:
    """Paths below the home folder; on a cluster it lies on a file system that every node sees."""

    root: Path  # absolute

    @property
    def stages(self) -> Path:
        """Finished stages, shared by all sweeps."""
        return self.root / "stages"

    @property
    def tune(self) -> Path:
        """Ray Tune's own files: scratch."""
        return self.root / "tune"

    @property
    def artifacts(self) -> Path:
        """Artifacts of MLflow runs, when no tracking server keeps them."""
        return self.root / "artifacts"

    @property
    def tracking_uri(self) -> str:
        """MLflow's database, when no tracking server is named."""
        return f"sqlite:///{self.root / 'mlflow.db'}"

    @property
    def spools(self) -> Path:
        """A folder a sweep: what its tracker is told."""
        return self.root / "spool"

    def report(self, name: str) -> Path:
        """The report of a sweep."""
        return self.spools / name / "report" / "report.html"

    def study(self, name: str) -> Path:
        """The journal of a sweep's Optuna study."""
        return self.root / "studies" / f"{name}.journal"


def open_home(folder: Path) -> Home:
    """Use a folder as home; it is made when something is first written.

    Raises:
        UserError: a relative folder inside a Ray job, whose working directory is a temporary upload.
    """
    return Home(root=outside_a_job("--home", folder).absolute())


def outside_a_job(flag: str, folder: Path) -> Path:
    """A folder that a flag names, which a Ray job does not take with it when it ends.

    Raises:
        UserError: a relative folder inside a Ray job.
    """
    if not folder.is_absolute() and in_ray_job():
        raise UserError(
            f"{flag} {folder}: a Ray job runs in a temporary copy of the project, and what it writes there is lost; "
            f"give an absolute folder that every node sees, such as {flag} {Path.home() / 'ser-runs'}"
        )
    return folder
