"""status.py N COMMAND...: runs COMMAND, prints all it says, and succeeds if its exit status is N."""
import subprocess
import sys

done = subprocess.run(sys.argv[2:], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, stdin=subprocess.DEVNULL)
print(done.stdout, end="")
if done.returncode != int(sys.argv[1]):
    sys.exit(f"expected exit status {sys.argv[1]} but got {done.returncode}")
