# Sourced by the scripts beside it: prints the folders that may be a pyenv's root, one a line.
# A shim's folder on PATH is in the root, also when HOME and PYENV_ROOT are another user's.
pyenv_roots() {
    {
        printf '%s\n' "${PYENV_ROOT:-}" "${HOME:+$HOME/.pyenv}"
        printf '%s\n' "$PATH" | tr ':' '\n' | sed -n 's,/shims/*$,,p'
        if command -v pyenv >/dev/null 2>&1; then dirname "$(dirname "$(readlink -f "$(command -v pyenv)")")"; fi
    } | while read -r root; do
        if [ -d "$root/versions" ]; then printf '%s\n' "$root"; fi
    done | awk '!seen[$0]++'
}
