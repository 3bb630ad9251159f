"""A program that segments a folder by threads of one process, which share a segmenter; it takes `segment`'s options."""

from __future__ import annotations

import argparse
import json
from concurrent.futures import ThreadPoolExecutor, as_completed

from medsam_edge.cli.folder import jobs_of, segment_job
from medsam_edge.cli.main import add_engine_options, add_options
from medsam_edge.cli.segment import choices_of, make_segmenter


def main() -> None:
    parser = argparse.ArgumentParser()
    add_options(parser)
    add_engine_options(parser)
    options = parser.parse_args()
    segmenter, choices = make_segmenter(options), choices_of(options)
    with ThreadPoolExecutor(int(options.workers)) as pool:
        jobs = [pool.submit(segment_job, segmenter, job, choices, options) for job in jobs_of(options)]
        for future in as_completed(jobs):
            print(json.dumps(future.result()), flush=True)


if __name__ == "__main__":
    main()
