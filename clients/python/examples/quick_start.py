"""Runs a command and edits a file: the quick-start of the README."""

import tempfile

import stigmer

with tempfile.TemporaryDirectory() as directory, stigmer.Client() as client:
    workspace = client.workspace(directory)
    workspace.write_file("greet.sh", 'echo "Hello, $1"\n')
    workspace.edit_file("greet.sh", old="Hello", new="Bye")
    done = workspace.execute("sh greet.sh world")
    print(done.exit_code, done.stdout)
