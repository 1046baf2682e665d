"""Tiny KFP v2 pipelines, written as the compiler writes them; each task is a line of Python."""

import yaml

_TYPE = {"schemaTitle": "system.Artifact", "schemaVersion": "0.0.1"}


def task(
    code="pass",
    *arguments,
    reads=(),
    makes=(),
    parameters=None,
    returns=None,
    after=(),
    cache=True,
    image="image:1",
    **more,
):
    """A task that runs `python -c code arguments...`.

    Args:
        reads: Artifacts, `TASK.OUTPUT` each; the input has the output's name.
        makes: Names of output artifacts.
        parameters: Name: (type, source of its value as in the spec).
        returns: Name of an output parameter: type.
        more: Further keys of the task.
    """
    return {
        "component": {
            "inputDefinitions": {
                "artifacts": {read.split(".")[1]: {"artifactType": _TYPE} for read in reads},
                "parameters": {name: {"parameterType": kind} for name, (kind, _) in (parameters or {}).items()},
            },
            "outputDefinitions": {
                "artifacts": {name: {"artifactType": _TYPE} for name in makes},
                "parameters": {name: {"parameterType": kind} for name, kind in (returns or {}).items()},
            },
        },
        "executor": {"container": {"image": image, "command": ["python", "-c", code], "args": list(arguments)}},
        "task": {
            "inputs": {
                "artifacts": {
                    read.split(".")[1]: {
                        "taskOutputArtifact": dict(zip(("producerTask", "outputArtifactKey"), read.split(".")))
                    }
                    for read in reads
                },
                "parameters": {name: source for name, (_, source) in (parameters or {}).items()},
            },
            "dependentTasks": list(after),
            "cachingOptions": {"enableCache": True} if cache else {},
            **more,
        },
    }


def importer(uri, **more):
    """A task that imports a URI as its output `model`."""
    spec = {"artifactUri": {"constant": uri}, "typeSchema": _TYPE, **more}
    return {
        "component": {"outputDefinitions": {"artifacts": {"model": {"artifactType": _TYPE}}}},
        "executor": {"importer": spec},
        "task": {},
    }


def constant(value):
    """Returns a parameter source: a constant."""
    return {"runtimeValue": {"constant": value}}


def parameter(name):
    """Returns a parameter source: the pipeline's parameter of that name."""
    return {"componentInputParameter": name}


def output(producer, key):
    """Returns a parameter source: an output of another task."""
    return {"taskOutputParameter": {"producerTask": producer, "outputParameterKey": key}}


def write(path, tasks, parameters=None, platform=None):
    """Writes a pipeline `tiny` and returns its path."""
    for name, one in tasks.items():
        one["component"]["executorLabel"] = f"{name}_executor"
    spec = {
        "pipelineInfo": {"name": "tiny"},
        "schemaVersion": "2.1.0",
        "sdkVersion": "test",
        "components": {name: one["component"] for name, one in tasks.items()},
        "deploymentSpec": {"executors": {f"{name}_executor": one["executor"] for name, one in tasks.items()}},
        "root": {
            "dag": {
                "tasks": {
                    name: {"taskInfo": {"name": name}, "componentRef": {"name": name}, **one["task"]}
                    for name, one in tasks.items()
                }
            },
            "inputDefinitions": {"parameters": parameters or {}},
        },
    }
    documents = [spec]
    if platform:
        executors = {f"{name}_executor": asked for name, asked in platform.items()}
        documents.append({"platforms": {"kubernetes": {"deploymentSpec": {"executors": executors}}}})
    path.write_text(yaml.safe_dump_all(documents))
    return str(path)


WRITE = "import sys; open(sys.argv[1], 'w').write(sys.argv[2])"
READ = "import sys; print(open(sys.argv[1]).read())"
_PATH = "{{{{$.{}.artifacts['{}'].path}}}}"


def input_path(name):
    """Returns the placeholder for the path of an input artifact."""
    return _PATH.format("inputs", name)


def output_path(name):
    """Returns the placeholder for the path of an output artifact."""
    return _PATH.format("outputs", name)


def states(result):
    """Returns the state of each task of a run."""
    return {run.task: run.state for run in result.tasks}
