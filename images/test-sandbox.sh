#!/usr/bin/env bash
# Tests a sandbox image: the tools, the user, and that what one does with them works.
#
# usage: images/test-sandbox.sh IMAGE
#
# Needs no network. Ends with "N passed, N failed", and with 1 if one failed, with 2 if the image
# could not be started at all.
set -euo pipefail

[[ $# -eq 1 ]] || { echo 'usage: images/test-sandbox.sh IMAGE' >&2; exit 2; }
image=$1
# Longer than any check takes; none may hang the suite.
seconds=120

# With --init `sleep` ends at once when it is told to.
start() {
    container=$(docker run --detach --rm --init --network none "$image" sleep 3600)
}

container=''
trap '[[ -z $container ]] || docker rm --force "$container" >/dev/null 2>&1 || true' EXIT
start || exit 2
if ! docker exec "$container" bash -c true; then
    echo "$image: has no bash, or no sleep" >&2
    exit 2
fi

passed=0 failed=0
user=()
# check NAME PATTERN COMMAND: what COMMAND prints matches the extended regular expression, and it
# succeeds. Bash of the image's own user runs it, in the image's own directory.
check() {
    local name=$1 pattern=$2 command=$3 output code=0
    output=$(timeout "$seconds" docker exec "${user[@]}" "$container" bash -c "$command" 2>&1) || code=$?
    if [[ $code -eq 0 && $output =~ $pattern ]]; then
        passed=$((passed + 1))
        printf 'ok      %-28s %s\n' "$name" "$(head -n 1 <<<"$output" | cut -c 1-60)"
    else
        failed=$((failed + 1))
        printf 'FAILED  %-28s exit %d, wanted %s, got: %s\n' "$name" "$code" "$pattern" "$output"
    fi
}

# installations WHO: from a directory, so that no network is needed. What is tested is where it goes.
# shellcheck disable=SC2016 # the container's shell expands what these commands hold
installations() {
    check "pip install as $1" '^/home/sandbox/\.local/.*probe' \
        "cd \"\$(mktemp -d)\" && echo 'x = 1' >stigmer_probe.py && printf '%s\n' '[build-system]' 'requires = []' '[project]' 'name = \"stigmer-probe\"' 'version = \"1\"' '[tool.setuptools]' 'py-modules = [\"stigmer_probe\"]' >pyproject.toml && pip install -q --no-index --no-build-isolation . && cd / && python -c 'import stigmer_probe; print(stigmer_probe.__file__)'"
    check "npm install -g as $1" '^probed$' \
        "cd \"\$(mktemp -d)\" && echo '{\"name\":\"stigmer-probe\",\"version\":\"1.0.0\",\"bin\":{\"stigmer-probe\":\"p.js\"}}' >package.json && printf '#!/usr/bin/env node\nconsole.log(\"probed\")\n' >p.js && chmod +x p.js && npm install -gs --offline . && stigmer-probe"
}

# shellcheck disable=SC2016 # the container's shell expands what these commands hold
checks() {
    # Versions are those that sandbox mode promises.
    check python3 '^Python 3\.11\.' 'python3 --version'
    check python '^Python 3\.11\.' 'python --version'
    check pip '\(python 3\.11\)' 'pip --version'
    check 'python -m venv' '^in a venv$' \
        'cd "$(mktemp -d)" && python -m venv v && v/bin/python -c "import sys; print(\"in a venv\" if sys.prefix != sys.base_prefix else 0)"'
    check 'yaml, requests, click' '^\[1\] [0-9.]+ [0-9.]+$' \
        'python -W ignore::DeprecationWarning -c "import yaml, requests, click; from importlib.metadata import version; print(yaml.safe_load(\"[1]\"), requests.__version__, version(\"click\"))"'
    check 'yaml is compiled' '^True$' 'python -c "import yaml; print(yaml.__with_libyaml__)"'
    check 'pip check' '^No broken requirements' 'pip check'
    check node '^v20\.' 'node --version'
    check npm '^10\.' 'npm --version'
    check npx '^10\.' 'npx --version'
    check git '^git version 2\.' 'git --version'
    check curl '^curl 7\.|^curl 8\.' 'curl --version'
    check jq '^\[2,3\]$' "jq -c 'map(.+1)' <<<'[1,2]'"
    check bash '^GNU bash, version 5\.' 'bash --version'
    for tool in gcc g++ make tar gzip unzip xz less ssh ps patch diff find; do
        check "$tool" / "command -v $tool"
    done

    check user '^sandbox$' 'id -un'
    check 'not root' '^[1-9][0-9]*$' 'id -u'
    check home '^/home/sandbox /home/sandbox$' "echo \"\$HOME \$(getent passwd sandbox | cut -d: -f6)\""
    check 'home is writable' '^ok$' 'echo ok >~/.probe && cat ~/.probe && rm ~/.probe'
    check 'directory' '^/workspace$' 'pwd'
    check 'directory is writable' '^ok$' 'echo ok >probe && cat probe && rm probe'
    check '/tmp is writable' '^ok$' 'echo ok >/tmp/probe && cat /tmp/probe && rm /tmp/probe'
    check 'PATH has the home first' '^/home/sandbox/.local/bin:/home/sandbox/.npm-global/bin:' "echo \"\$PATH\""
    check 'UTF-8' '^UTF-8$' 'locale charmap'
    check 'the system is not writable' '^no$' 'touch /usr/bin/probe 2>/dev/null || echo no'
    check 'no setuid program but known' '^$' \
        'find / -xdev -perm /6000 -type f 2>/dev/null | grep -vE "/(chage|chfn|chsh|expiry|gpasswd|mount|newgrp|passwd|ssh-agent|ssh-keysign|su|umount|unix_chkpwd)$" || true'
    check 'nothing of the build is left' '^$' \
        'ls -d /build /var/lib/apt/lists/*Release /root/.cache /root/.npm 2>/dev/null || true'
    check 'authorities' '^ok$' 'test -s /etc/ssl/certs/ca-certificates.crt && echo ok'

    check 'a C program' '^42$' \
        "cd \"\$(mktemp -d)\" && echo 'int printf(const char *, ...); int main(void) { printf(\"%d\\n\", 42); }' >a.c && make -s a && ./a"
    check 'a Python extension' '^ok$' \
        "cd \"\$(mktemp -d)\" && echo '#include <Python.h>' >a.c && gcc -c \$(python3-config --includes) a.c && echo ok"
    check 'a header of Node.js' '^ok$' \
        "cd \"\$(mktemp -d)\" && echo '#include <node_api.h>' >a.c && gcc -c -I/usr/local/include/node a.c && echo ok"
    check 'git commit' '^1$' \
        'cd "$(mktemp -d)" && git init -q && touch a && git add a && git -c user.name=a -c user.email=a@localhost commit -qm a && git rev-list --count HEAD'
    installations 'the user'

    # What the full image has beside these is said in it: "program version" on each line.
    while read -r tool version; do
        [[ -n $tool ]] || continue
        case $tool in
        docker | aws | az | gcloud | k9s) command="$tool version 2>/dev/null || $tool --version" ;;
        kubectl) command='kubectl version --client' ;;
        *) command="$tool version" ;;
        esac
        check "$tool $version" "(^|[^0-9.])${version//./\\.}($|[^0-9])" "$command"
    done < <(docker exec "$container" cat /usr/local/lib/stigmer-tools/versions 2>/dev/null || true)
}

checks

# As sandbox mode does it: the home, as it is in the image, is given to a user who has no name there.
docker rm --force "$container" >/dev/null
start
docker exec --user 0 "$container" chown 12345:12345 /home/sandbox
user=(--user 12345:12345 --env HOME=/home/sandbox)
installations 'another user'

printf '%d passed, %d failed\n' "$passed" "$failed"
[[ $failed -eq 0 ]]
