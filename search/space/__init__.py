"""What a sweep searches: axes, presets, and what one trial trains and reports."""
