"""`deploy`: what a trained student costs those who use it, beside its teacher and AST, in PyTorch and in onnxruntime.

One core answers one clip at a time, and 16 at once. All networks see the same images; the student also begins with
the waveforms of synthetic recordings, with the front-end in PyTorch or in the exported graph. Whatever is compared
takes turns of a tenth of a second or one call; the first of several is not counted, for it finds the other side's data
in the caches. PyTorch and onnxruntime must give the same answers. A start is a process of its own that opens the
student and answers one recording. Sizes are the defaults, which are the paper's; networks are untrained, for that does
not change the time. About two minutes.
"""

import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

from jobs.benchmarks.child import run_python
from jobs.benchmarks.inputs import recordings
from jobs.benchmarks.result import Result
from jobs.shared.progress import counted
from sermodels.config.settings import ChainConfig, FrontEnd, Teacher
from sermodels.corpora.audio import load
from sermodels.corpora.synthetic import EMOTIONS
from sermodels.deploy.graph import ExportableLogMel, export_onnx, to_onnx
from sermodels.deploy.recogniser import session
from sermodels.memory import keep_freed
from sermodels.networks.cost import count_macs, count_parameters, macs_as_run
from sermodels.networks.factory import build_student, build_teacher
from sermodels.training.bundle import FINGERPRINT, WEIGHTS, Bundle, load_bundle, write_bundle

AST = ChainConfig(
    patch="16x16", dim=768, mlp=3072, encoding="none", teacher=Teacher(network="ast", stem=(), depth=12, heads=12)
)
ROUNDS, FEW = 15, 3  # turns of each side; where a turn takes seconds
TURN_S = 0.1
CLIPS = 5
TOGETHER = 16  # images a call
MODEL = {"torch": "bundle", "onnxruntime": "model.onnx"}  # where the student lies
PRODUCTS, SQUARE = ("float32_product", "float64_product"), 1024  # rows and columns of their matrices
SAME_PROBABILITY, SAME_LOGITS = 1e-4, 1e-3  # absolute; relative to the largest
# Programs of their own, which import no more than they need: model, recording and file for the answer are their words.
START = {
    "torch": """
import sys
from pathlib import Path
import torch
from sermodels.corpora.audio import load
from sermodels.training.bundle import load_bundle
torch.set_num_threads(1)
bundle = load_bundle(Path(sys.argv[1]))
waveform = torch.from_numpy(load(Path(sys.argv[2]), bundle.frontend.sample_rate_hz))
bundle.classify([waveform]).numpy().tofile(sys.argv[3])
""",
    "onnxruntime": """
import sys
import numpy, onnxruntime, soundfile
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
waveform, _ = soundfile.read(sys.argv[2], dtype="float32")
session.run(["probabilities"], {"waveform": waveform[numpy.newaxis]})[0].tofile(sys.argv[3])
""",
}
Call = Callable[[], object]


def measure(
    scratch: Path,
    config: ChainConfig | None = None,
    ast: ChainConfig = AST,
    frontend: FrontEnd | None = None,
    rounds: int = ROUNDS,
) -> Result:
    """Answer with every network, in PyTorch and in onnxruntime.

    Raises:
        ArithmeticError: the two answer differently, so that the times compare nothing.
    """
    torch.set_num_threads(1)
    keep_freed()
    config, frontend = config or ChainConfig(), frontend or FrontEnd()
    sizes = {"image": (frontend.n_mels, frontend.width), "classes": len(EMOTIONS), "seed": 0}
    student, teacher = build_student(config, **sizes), build_teacher(config, **sizes)
    networks = {"student": student, "teacher": teacher, "ast": build_teacher(ast, **sizes)}
    about = {"emotions": EMOTIONS, "frontend": frontend, "metrics": {FINGERPRINT: "generated"}}
    write_bundle(scratch / MODEL["torch"], config=config, network=student, **about)
    (scratch / MODEL["onnxruntime"]).write_bytes(export_onnx(student, frontend, EMOTIONS).SerializeToString())
    heard = _from_waveforms(scratch, rounds)
    alone = _from_images({name: _Logits(network).eval() for name, network in networks.items()}, sizes["image"], rounds)
    return _result(alone, heard)


def _from_waveforms(folder: Path, rounds: int) -> dict[str, float]:
    """Figures of the student that lies in a folder, with its front-end."""
    folder = folder.resolve()  # programs are started elsewhere
    models = {name: folder / file for name, file in MODEL.items()}
    bundle, opened = load_bundle(models["torch"]), session(models["onnxruntime"], threads=1)
    corpus = recordings(folder / "speech", CLIPS).utterances
    paths = [utterance.path for utterance in corpus[:: len(corpus) // CLIPS][:CLIPS]]  # of several speakers
    waveforms = [torch.from_numpy(load(path, bundle.frontend.sample_rate_hz)) for path in paths]

    def with_torch() -> np.ndarray:
        return torch.cat([bundle.classify([waveform]) for waveform in waveforms]).numpy()

    def with_onnxruntime() -> np.ndarray:
        inputs = [{"waveform": waveform[np.newaxis].numpy()} for waveform in waveforms]
        return np.concatenate([opened.run(["probabilities"], each)[0] for each in inputs])

    def start(name: str) -> None:
        run_python(f"a start with {name}", "-c", START[name], models[name], paths[0], folder / "answer")
        found = np.fromfile(folder / "answer", np.float32)
        _check(f"probabilities after a start with {name}", np.abs(found - expected[0]).max(), SAME_PROBABILITY)

    expected = with_torch()
    _check("student's probabilities", np.abs(with_onnxruntime() - expected).max(), SAME_PROBABILITY)
    times = _turns_s("recordings", {"torch": with_torch, "onnxruntime": with_onnxruntime} | _products(), rounds)
    rates = _rates(times)
    starts = _turns_s("starts", {name: partial(start, name) for name in START}, min(FEW, rounds))
    return {
        **{f"student_with_frontend_{name}_ms": 1e3 * each / CLIPS for name, each in times.items()},
        **rates,
        "spectra_million_macs": _spectra_macs(bundle, waveforms) / 1e6,
        "student_with_frontend_onnx_mb": models["onnxruntime"].stat().st_size / 1e6,
        "student_safetensors_mb": (models["torch"] / WEIGHTS).stat().st_size / 1e6,
        **{f"{name}_start_to_answer_s": each for name, each in starts.items()},
    }


def _spectra_macs(bundle: Bundle, waveforms: list[Tensor]) -> float:
    """Of the products that make a recording's spectra in the graph; mean, and of those frames that columns show."""
    graph, hop = ExportableLogMel(bundle.frontend), bundle.frontend.hop_length
    frames = sum((graph.shown * hop < len(waveform) + graph.before).sum().item() for waveform in waveforms)
    return frames / len(waveforms) * (graph.cosines.numel() + graph.sines.numel())


class _Logits(nn.Module):
    """A network that answers with logits alone."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network.requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images).logits


def _from_images(networks: Mapping[str, _Logits], image: tuple[int, int], rounds: int) -> dict[str, float]:
    """Figures of all networks, without a front-end."""
    figures, sessions = {}, {}
    for name, network in networks.items():
        exported = _exported(network, image)
        sessions[name] = session(exported, threads=1)
        figures |= {
            f"{name}_parameters": count_parameters(network),
            f"{name}_million_macs": macs_as_run(network.network, image) / 1e6,
            f"{name}_million_macs_of_all_tokens": count_macs(network.network, image) / 1e6,
            f"{name}_onnx_mb": len(exported) / 1e6,
        }
    one = _turns_s("images", _calls(networks, sessions, torch.rand(1, 1, *image)) | _products(), rounds)
    figures |= _rates(one)
    many = _turns_s("batches", _calls(networks, sessions, torch.rand(TOGETHER, 1, *image)), min(FEW, rounds))
    for name in one:
        figures |= {f"{name}_ms": 1e3 * one[name], f"{name}_clips_a_s": 1 / one[name]}
        figures[f"{name}_clips_a_s_{TOGETHER}_at_once"] = TOGETHER / many[name]
    return figures


def _exported(network: _Logits, image: tuple[int, int]) -> bytes:
    example = torch.zeros(2, 1, *image)  # of more than one row: a size of 1 would be taken for a constant
    return to_onnx(network, example, {0: torch.export.Dim("batch", min=1)}, "images", ["logits"]).SerializeToString()


def _calls(
    networks: Mapping[str, _Logits], sessions: Mapping[str, onnxruntime.InferenceSession], images: Tensor
) -> dict[str, Call]:
    """What answers the images: each network in PyTorch and in onnxruntime, once both are found to answer the same."""
    calls: dict[str, Call] = {}
    for name, network in networks.items():
        inputs = {"images": images.numpy()}
        expected, found = network(images).numpy(), sessions[name].run(None, inputs)[0]
        _check(f"{name}'s logits", np.abs(found - expected).max() / np.abs(expected).max(), SAME_LOGITS)
        calls[f"{name}_torch"] = partial(network, images)
        calls[f"{name}_onnxruntime"] = partial(sessions[name].run, None, inputs)
    return calls


def _check(what: str, difference: float, allowed: float) -> None:
    if not difference < allowed:
        raise ArithmeticError(f"the {what} differ by {difference:.1e}: the two sides do not answer the same")


def _products() -> dict[str, Call]:
    """Large matrix products: they tell the core's speed while something else takes its turns with them."""
    squares = [torch.rand(SQUARE, SQUARE), torch.rand(SQUARE, SQUARE, dtype=torch.float64)]
    return {name: partial(torch.mm, each, each) for name, each in zip(PRODUCTS, squares, strict=True)}


def _rates(times: dict[str, float]) -> dict[str, float]:
    """How many MACs a second the products did, in 1e9; their times are taken out."""
    return {f"{name}_gmacs_a_s": SQUARE**3 / times.pop(name) / 1e9 for name in PRODUCTS}


def _turns_s(what: str, calls: Mapping[str, Call], rounds: int) -> dict[str, float]:
    """Median seconds of each call; they take turns."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    with counted(what) as progress:
        for done in range(1, rounds + 1):
            for name, call in calls.items():
                times[name] += _turn(call)
            progress(done, rounds)
    return {name: median(each) for name, each in times.items()}


def _turn(call: Call) -> list[float]:
    """Seconds of some calls; the first is left out unless it takes the whole turn."""
    times: list[float] = []
    while sum(times) < TURN_S:
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return times[1:] or times


def _result(alone: dict[str, float], heard: dict[str, float]) -> Result:
    network_ms = alone["student_million_macs"] / alone["float32_product_gmacs_a_s"]
    parts_ms = (
        heard["spectra_million_macs"] / heard["float64_product_gmacs_a_s"],
        alone["student_million_macs"] / heard["float32_product_gmacs_a_s"],
    )
    faster = {
        name: alone[f"{name}_torch_ms"] / alone[f"{name}_onnxruntime_ms"] for name in ("student", "teacher", "ast")
    }
    torch_ms, onnxruntime_ms = (heard[f"student_with_frontend_{name}_ms"] for name in START)
    with_onnxruntime = Result(
        name="deploy, onnxruntime",
        compared="the student's forward pass in PyTorch, against the same in onnxruntime",
        value=faster["student"],
        unit="× less time a clip than PyTorch",
        required="≥ 1",
        limit=f"its MACs as fast as a large matrix product's, in {network_ms:.2f} ms: "
        f"{alone['student_torch_ms'] / network_ms:.2f}×",
        parts={f"{name}_torch_over_onnxruntime": ratio for name, ratio in faster.items()}
        | {name: value for name, value in alone.items() if name.startswith(PRODUCTS)},
    )
    with_frontend = Result(
        name="deploy, onnxruntime with the front-end",
        compared="the student from waveform to probabilities in PyTorch, against one graph in onnxruntime; "
        f"{CLIPS} recordings of 1.5 to 4 s, one a call",
        value=torch_ms / onnxruntime_ms,
        unit="× less time a clip than PyTorch",
        required="≥ 1",
        limit="the graph's spectra, in double precision, and the network as fast as large products, in "
        f"{parts_ms[0]:.2f} + {parts_ms[1]:.2f} ms: {torch_ms / sum(parts_ms):.2f}×",
        parts=heard,
    )
    beside_ast = _beside("ast", "AST, tokens of 768 and overlapping patches,", "≥ 30", alone)
    return _beside("teacher", "the teacher", "≥ 5", alone, beside_ast, with_onnxruntime, with_frontend)


def _beside(name: str, title: str, required: str, figures: dict[str, float], *further: Result) -> Result:
    """The student's forward pass against another network's, in PyTorch."""
    macs = figures[f"{name}_million_macs"] / figures["student_million_macs"]
    shown = (f"{name}_", "student_") if further else (f"{name}_",)
    return Result(
        name="deploy" if further else f"deploy, beside {name.upper()}",
        compared=f"the forward pass of {title} over one image in PyTorch, against the student's; one core",
        value=figures[f"{name}_torch_ms"] / figures["student_torch_ms"],
        unit=f"× less time a clip than {title.partition(',')[0]}",
        required=required,
        limit=f"MACs that are run, were all as fast: {macs:.2f}×",
        parts={figure: value for figure, value in figures.items() if figure.startswith(shown)},
        further=further,
    )
