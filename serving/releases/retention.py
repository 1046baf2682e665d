"""Which pushed versions may be deleted, so that a folder of versions does not grow without end.

for version in removable("serving/radar", keep=5): ...
remove("serving/radar", keep=5)
"""

import shutil

from framecast.serving.releases import releases, version_folder


def removable(base: str, keep: int) -> list[version_folder.PushedVersion]:
    """Returns the versions that may go, the newest first.

    Never those that servers load (the newest two), that have a label, or that `rollback` would go back to.

    Args:
        base: Folder of the versions; none when it is not there.
        keep: How many of the newest stay besides, withdrawn ones among them.

    Raises:
        ReleaseError: When `base` is no local folder.
    """
    if not version_folder.has_versions(base):
        return []
    whole = [version for version in version_folder.read_versions(base) if version.state != "incomplete"]
    back = version_folder.rollback_target(base)
    return [
        version
        for version in whole[keep:]
        if version.state != "served" and not version.labels and version.number != back
    ]


def remove(base: str, keep: int) -> list[version_folder.PushedVersion]:
    """Deletes what is `removable`, and returns it.

    A version is hidden before its files go: no server sees half of one, and what a kill leaves the next push removes.
    """
    if not version_folder.has_versions(base):
        return []
    with releases.exclusive(base):
        releases.finish(base, releases.FixedWait(lambda _: None))
        gone = removable(base, keep)
        for version in gone:
            shutil.rmtree(releases.hide(base, version.number))
    return gone
