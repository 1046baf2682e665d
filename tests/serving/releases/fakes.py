"""Pushes small fake models, reads the state of a folder of versions, and fakes servers that follow immediately."""

from framecast.serving import versions
from framecast.serving.releases import releases, tf_serving_config


class FollowingServers:
    """Implements `releases.ServerSync` without waiting."""

    def wait_loaded(self, version):
        pass

    def wait_relabelled(self, version, leaving):
        pass

    def wait_unloaded(self, version, withdrawn):
        pass


def write_model(folder, content="weights"):
    """Writes a fake exported model; returns its digest."""
    folder.mkdir(parents=True)
    (folder / "saved_model.pb").write_text(content)
    return versions.digest(str(folder))


def push_version(base, number, label="stable", content=None, **details):
    """Pushes a fake model as `run <number>`; returns the log entry."""
    with releases.exclusive(str(base)):
        digest = write_model(base / f".{number}.incomplete", content or f"weights of {number}")
        push = releases.PushRecord(digest=digest, by=f"run {number}", label=label, **details)
        return releases.publish(str(base), number, push)


def visible(base):
    """Returns the numbers of the versions that servers see."""
    return sorted(int(path.name) for path in base.iterdir() if path.name.isdigit())


def labels(base):
    """Returns the labels in `models.config`."""
    text = (base / "tensorflow_serving" / "models.config").read_text()
    (model,) = tf_serving_config.parse_models_config(text).model_config_list.config
    return dict(model.version_labels)


def state(base):
    """Returns visible versions, withdrawn versions, and labels."""
    withdrawn = sorted(int(path.name.split(".")[1]) for path in base.glob(".*.withdrawn"))
    return visible(base), withdrawn, labels(base)
