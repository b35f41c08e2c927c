"""Stand-ins for programs that tests cannot have: `fmriprep`, with its real options and file names, and `apptainer`.

The options and names are those of fMRIPrep 25.2.5: its command-line parser, and the lists of outputs that its own
tests expect (``.circleci/ds005_outputs.txt``, ``ds054_outputs.txt``, ``ds210_outputs.txt`` at that tag).
"""

import os
import stat
import sys
from pathlib import Path

FMRIPREP = '''#!{python}
"""Leave what fMRIPrep would leave, on a coarse grid.

FMRIPREP_FAILS=sub-02: that participant crashes, FMRIPREP_KILLED=sub-02: its process is killed, the first time each.
"""
import argparse, json, os, signal, sys
from pathlib import Path

import nibabel as nib
import numpy as np

parser = argparse.ArgumentParser()
parser.add_argument("bids_dir", type=Path)
parser.add_argument("output_dir", type=Path)
parser.add_argument("analysis_level", choices=["participant"])
parser.add_argument("--participant-label", nargs="+", required=True)
parser.add_argument("--session-label", nargs="+")
parser.add_argument("-t", "--task-id")
parser.add_argument("--skip-bids-validation", action="store_true")
parser.add_argument("--output-spaces", nargs="*")
parser.add_argument("--fs-license-file", type=Path, required=True)
parser.add_argument("--fs-no-reconall", action="store_true")
parser.add_argument("--nprocs", type=int)
parser.add_argument("--omp-nthreads", type=int)
parser.add_argument("--mem-mb", type=int)
parser.add_argument("-w", "--work-dir", type=Path)
parser.add_argument("--notrack", action="store_true")
parser.add_argument("--stop-on-first-crash", action="store_true")
parser.add_argument("--ignore", nargs="+", choices=["fieldmaps", "slicetiming", "sbref", "t2w", "flair"])
args = parser.parse_args()
label = args.participant_label[0]
name = "sub-" + label
with open(os.environ["FMRIPREP_CALLS"], "a") as calls:
    print(json.dumps(sys.argv[1:]), file=calls)
if not args.fs_license_file.is_file():
    sys.exit(126)
args.work_dir.mkdir(parents=True, exist_ok=True)
resumed = (args.work_dir / "begun").exists()
(args.work_dir / "begun").touch()
out = args.output_dir
(out / name / "figures").mkdir(parents=True, exist_ok=True)
(out / (name + ".html")).write_text("<html>report</html>")
if name in os.environ.get("FMRIPREP_FAILS", "") and not resumed:
    crash = out / name / "log" / "20260101-000000_0" / "crash-20260101-000000-user-norm-0.txt"
    crash.parent.mkdir(parents=True)
    crash.write_text("Node: fmriprep_25_2_wf.sub_02_wf.anat_fit_wf.norm\\nTraceback: ...\\n")
    sys.exit(1)
if name in os.environ.get("FMRIPREP_KILLED", "") and not (args.work_dir / "killed").exists():
    (args.work_dir / "killed").touch()
    os.kill(os.getpid(), signal.SIGKILL)
[raw] = (args.bids_dir / name).glob("func/*_task-" + args.task_id + "_bold.nii.gz")
bold = nib.load(raw)
template, _, resolution = args.output_spaces[0].partition(":")
stem = out / name / "func" / (name + "_task-" + args.task_id)
stem.parent.mkdir(parents=True, exist_ok=True)
space = str(stem) + "_space-" + template + ("_" + resolution if resolution else "")
affine = np.diag([12.0, 12, 12, 1])
affine[:3, 3] = [-84, -114, -66]
rng = np.random.default_rng(int(label))
t = bold.shape[3]
data = (100 + rng.standard_normal((14, 18, 14, t))).astype("f4")
nib.save(nib.Nifti1Image(data, affine), space + "_desc-preproc_bold.nii.gz")
seconds = json.loads(Path(str(raw).replace(".nii.gz", ".json")).read_text())["RepetitionTime"]
Path(space + "_desc-preproc_bold.json").write_text(json.dumps({{"RepetitionTime": seconds, "SkullStripped": False}}))
nib.save(nib.Nifti1Image(np.ones((14, 18, 14), "u1"), affine), space + "_desc-brain_mask.nii.gz")
nib.save(nib.Nifti1Image(np.ones((14, 18, 14), "f4"), affine), space + "_boldref.nii.gz")
nib.save(nib.Nifti1Image(np.ones((14, 18, 14), "u1"), affine), str(stem) + "_desc-brain_mask.nii.gz")
Path(str(stem) + "_from-orig_to-boldref_mode-image_desc-hmc_xfm.txt").write_text("#Insight Transform File V1.0")
(out / name / "figures" / (name + "_task-rest_desc-carpetplot_bold.svg")).write_text("<svg/>")
columns = ["trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z"]
columns = ["global_signal", "csf", "white_matter"] + columns + [c + "_derivative1" for c in columns]
values = 0.01 * rng.standard_normal((t, len(columns)))
rows = ["\\t".join(columns + ["framewise_displacement"])]
for k in range(t):
    cells = ["n/a" if k == 0 and c.endswith("1") else str(v) for c, v in zip(columns, values[k])]
    rows.append("\\t".join(cells + ["n/a" if k == 0 else "0.1"]))
Path(str(stem) + "_desc-confounds_timeseries.tsv").write_text("\\n".join(rows) + "\\n")
(out / "dataset_description.json").write_text(json.dumps({{"Name": "fMRIPrep", "BIDSVersion": "1.4.0"}}))
'''

APPTAINER = """#!{python}
'''Pull nothing, and run the command on this machine; what was asked is written down.'''
import json, os, sys

if "--version" in sys.argv:
    print("apptainer version 1.4.1")
elif "pull" in sys.argv:
    open(sys.argv[sys.argv.index("--name") + 1], "w").write(sys.argv[-1])
else:
    asked = {{key: value for key, value in os.environ.items() if key.startswith(("APPTAINER", "SINGULARITY"))}}
    with open(os.environ["APPTAINER_CALLS"], "a") as calls:
        print(json.dumps([sys.argv[1:], asked]), file=calls)
    shell = sys.argv.index("-c")
    os.environ["PATH"] = os.environ["INSIDE"] + os.pathsep + os.environ["PATH"]
    os.execvp(sys.argv[shell - 1], sys.argv[shell - 1 :])
"""


def write_program(folder: Path, name: str, text: str) -> Path:
    """Write an executable; returns its folder, to be put on the PATH."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(text.format(python=sys.executable))
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return folder


def environment_with(*folders: Path, **variables: str) -> dict[str, str]:
    """The environment of this process, with folders first on its PATH."""
    path = os.pathsep.join([*map(str, folders), os.environ["PATH"]])
    return {**os.environ, "PATH": path, **variables}
