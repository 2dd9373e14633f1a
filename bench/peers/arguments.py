"""What every peer is told: where to store, which model from which folder, how long a passage is."""

import argparse
from pathlib import Path


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--database-url", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--model-folder", type=Path, required=True)
    parser.add_argument("--chunk-tokens", type=int, required=True)
    parser.add_argument("folder", type=Path)
    return parser.parse_args()
