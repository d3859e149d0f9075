"""Rare class sampling against arrays produced by the released DAFormer code."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from uda.data.rare_class_sampling import (
    RareClassSampling,
    class_frequencies,
    class_probabilities,
    fetch_until,
)
from uda.data.statistics import ClassStatistics

Check = tuple[str, float, float]


def check_rcs(path: Path) -> list[Check]:
    """Probabilities, candidates and the drawn sequence of one ``rcs_*.npz``.

    Returns:
        (what, error, tolerance) for each comparison; sequences give the number of differences.
    """
    with np.load(path, allow_pickle=False) as data:
        arrays = {name: data[name] for name in data.files}
    counts = arrays["pixel_counts"]
    frequencies = class_frequencies(counts)
    order = arrays["classes_sorted_ascending"]
    expected = np.zeros((len(arrays["temperatures"]), counts.shape[1]))
    expected[:, order] = arrays["class_probs"]
    temperatures = [float(t) for t in arrays["temperatures"]]
    ours = [class_probabilities(frequencies, t) for t in temperatures]
    errors = [np.abs(found - row).max() for found, row in zip(ours, expected, strict=True)]
    # The reference divides float32 by T before its softmax: rounding grows as T falls.
    limits = [2e-6 + 4e-8 / t for t in temperatures]
    sampling = RareClassSampling(
        temperature=float(arrays["sim_temperature"]),
        min_pixels=int(arrays["sim_min_pixels"]),
        min_crop_share=float(arrays["sim_min_crop_ratio"]),
    )
    names = [str(index) for index in range(counts.shape[1])]
    statistics = ClassStatistics([f"{i}.png" for i in range(len(counts))], counts)
    table = sampling.table(statistics, names)
    candidates = np.zeros(counts.shape[1], dtype=np.int64)
    candidates[table.classes] = [len(images) for images in table.images]
    checks = [
        *(
            (f"class_probs T={t:g}", *pair)
            for t, *pair in zip(temperatures, errors, limits, strict=True)
        ),
        ("classes_sorted_ascending", _differences(table.classes, order), 0.0),
        ("candidates_per_class", _differences(candidates, arrays["candidates_per_class"]), 0.0),
    ]
    drawn = _simulate(sampling, statistics, names, arrays)
    return checks + [(name, _differences(drawn[name], arrays[name]), 0.0) for name in drawn]


def _simulate(
    sampling: RareClassSampling,
    statistics: ClassStatistics,
    names: list[str],
    arrays: dict[str, NDArray[np.generic]],
) -> dict[str, NDArray[np.int64]]:
    """The fixture's sampler: fetched crops are replaced by their recorded pixel numbers."""
    table = sampling.table(statistics, names)
    generator = np.random.RandomState(int(arrays["sim_np_seed"]))
    pixels = arrays["sim_crop_pixels_per_fetch"]
    threshold = table.crop_pixels(512 * 512)
    rows, fetched = [], 0

    def fetch() -> int:
        nonlocal fetched
        fetched += 1
        return int(pixels[(fetched - 1) % len(pixels)])

    for _ in range(len(arrays["sim_classes"])):
        class_id, image = table.draw(generator)
        _, fetches = fetch_until(fetch, lambda found: found > threshold, sampling.retries)
        target = int(generator.choice(range(int(arrays["sim_target_len"]))))
        rows.append((class_id, image, fetches, target))
    keys = ("sim_classes", "sim_source_index", "sim_fetches", "sim_target_index")
    return dict(zip(keys, np.array(rows, dtype=np.int64).T, strict=True))


def check_rcs_real(path: Path) -> list[Check]:
    """Frequencies, probabilities and candidates of real data sets: ``rcs_real/expected.json``.

    Every temperature that the file has is compared (``P_T0.01`` is that of DAFormer), and 0.05,
    that of the VFM-UDA recipes, with the formula: two classes differ by ``exp((f_b - f_a) / T)``.
    """
    checks: list[Check] = []
    for name, expected in json.loads(path.read_text(encoding="utf-8")).items():
        if not isinstance(expected, dict) or "classes_ascending" not in expected:
            continue
        counts_file = path.with_name(f"{name}_sample_class_stats.json.gz")
        statistics = ClassStatistics.load(counts_file, 19)
        frequencies = class_frequencies(statistics.counts)
        order = expected["classes_ascending"]
        names = [str(index) for index in range(19)]
        table = RareClassSampling(min_pixels=expected["min_pixels"]).table(statistics, names)
        images = {str(c): len(i) for c, i in zip(table.classes, table.images, strict=True)}
        checks.append((f"{name} order", _differences(table.classes, order), 0.0))
        error = np.abs(frequencies[order] - expected["frequency"]).max()
        checks.append((f"{name} frequency", float(error), 1e-12))
        for key in (key for key in expected if key.startswith("P_T")):
            temperature = float(key.removeprefix("P_T"))
            probabilities = class_probabilities(frequencies, temperature)[order]
            error = np.abs(probabilities - expected[key]).max()
            checks.append((f"{name} {key}", float(error), 1e-12))
        wanted = expected["candidate_images"]
        wrong = sum(images.get(key) != value for key, value in wanted.items())
        checks.append((f"{name} candidates", float(wrong), 0.0))
        checks.append(_vfm_temperature(name, frequencies[order]))
    return checks


def _vfm_temperature(name: str, frequencies: NDArray[np.float64]) -> Check:
    """At T = 0.05, by ratios to the rarest class, whose probability the others' sum gives."""
    found = class_probabilities(frequencies, 0.05)
    ratios = np.exp((frequencies[0] - frequencies) / 0.05)
    error = np.abs(found - ratios / ratios.sum()).max()
    return f"{name} P_T0.05", float(error), 1e-12


def _differences(ours: object, theirs: object) -> float:
    """Number of entries that differ; infinite when the shapes do."""
    first, second = np.asarray(ours), np.asarray(theirs)
    return float((first != second).sum()) if first.shape == second.shape else float("inf")
