# Defines pyenv_roots for the other scripts: it prints the roots of pyenv on this machine, one per line.
# They are also found from the shims and the command on PATH, because HOME and PYENV_ROOT may be another user's.
pyenv_roots() {
    {
        printf '%s\n' "${PYENV_ROOT:-}" "${HOME:+$HOME/.pyenv}"
        printf '%s\n' "$PATH" | tr ':' '\n' | sed -n 's,/shims/*$,,p'
        if command -v pyenv >/dev/null 2>&1; then dirname "$(dirname "$(readlink -f "$(command -v pyenv)")")"; fi
    } | while read -r root; do
        if [ -d "$root/versions" ]; then printf '%s\n' "$root"; fi
    done | awk '!seen[$0]++'
}
