"""Deletes old pushed versions.

for version in removable("serving/radar", keep=5): ...
remove("serving/radar", keep=5)
"""

import shutil

from framecast.serving.releases import releases, version_folder
from framecast.serving.releases.version_folder import PushedVersion


def removable(base: str, keep: int) -> list[PushedVersion]:
    """Returns the versions that may be deleted, newest first.

    Never includes the two versions that servers load, versions with a label, or the target of a rollback.

    Args:
        base: Folder of the versions; may be missing.
        keep: Number of newest versions to keep, withdrawn ones included.

    Raises:
        ReleaseError: If `base` is not a local folder.
    """
    if not version_folder.has_versions(base):
        return []
    complete = [version for version in version_folder.read_versions(base) if version.state != "incomplete"]
    target = version_folder.rollback_target(base)
    return [
        version
        for version in complete[keep:]
        if version.state != "served" and not version.labels and version.number != target
    ]


def remove(base: str, keep: int) -> list[PushedVersion]:
    """Deletes the `removable` versions and returns them.

    A version is hidden first, so that servers never see a partial one; the next push removes the rest after a kill.
    """
    if not version_folder.has_versions(base):
        return []
    with releases.exclusive(base):
        releases.finish(base, releases.FixedWait(lambda _: None))
        removed = removable(base, keep)
        for version in removed:
            shutil.rmtree(releases.hide(base, version.number))
    return removed
