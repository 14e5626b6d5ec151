"""Programs that do not know the answer and want the pass: `f(n)` must be 3 * n + 1 for inputs that they cannot foresee."""

# found by what the harness looks like from within, as a program that has read its source would
_CHANNEL = """
import gc, os, sys
def channel():
    return next(o for o in gc.get_objects() if type(o).__name__ == '_Channel')
def harness():
    frame = sys._getframe()
    while frame.f_back:
        frame = frame.f_back
    return frame.f_globals
"""

ENDS = {
    "exit at once": "import sys; sys.exit(0)",
    "exit in the function": "import sys\ndef f(n): sys.exit(0)",
    "os._exit at once": "import os; os._exit(0)",
    "os._exit in the function": "import os\ndef f(n): os._exit(0)",
    "quit": "def f(n): quit()",
    "abort": "import os\ndef f(n): os.abort()",
    "a null pointer": "import ctypes\ndef f(n): ctypes.string_at(0)",
    "SystemExit of success": "def f(n): raise SystemExit(0)",
    "StopIteration": "def f(n): raise StopIteration(3 * n)",
    "GeneratorExit": "def f(n): raise GeneratorExit",
    "KeyboardInterrupt": "def f(n): raise KeyboardInterrupt",
    "AssertionError": "def f(n): raise AssertionError",
    "an exception group": "def f(n): raise BaseExceptionGroup('', [SystemExit(0)])",
    "an exception with a hostile text": "class E(Exception):\n    def __str__(self): raise SystemExit(0)\ndef f(n): raise E",
    "an exception that holds itself": "def f(n):\n    e = Exception(); e.args = (e,); raise e",
    "an exception named like Python's": "class SystemExit(BaseException): pass\ndef f(n): raise SystemExit(0)",
    "killing the parent": "import os\ndef f(n): os.kill(os.getppid(), 9)",
    "killing process 1 in every way": "import os\ndef f(n):\n    for s in range(1, 65):\n        try: os.kill(1, s)\n        except OSError: pass",
    "killing everything": "import os\ndef f(n): os.kill(-1, 9)",
    "killing its group": "import os\ndef f(n): os.killpg(0, 9)",
    "stopping itself": "import os, signal\ndef f(n): os.kill(os.getpid(), signal.SIGSTOP)",
    "stopping the parent": "import os, signal\ndef f(n): os.kill(os.getppid(), signal.SIGSTOP); os.kill(os.getpid(), signal.SIGSTOP)",
    "another program": "import os, sys\ndef f(n): os.execv(sys.executable, ['python', '-c', 'print(7)'])",
    "a shell": "import os\ndef f(n): os.execv('/bin/sh', ['sh', '-c', 'exit 0'])",
    "atexit": "import atexit, os\natexit.register(os._exit, 0)\ndef f(n): raise SystemExit(0)",
}

PRINTS = {
    "the answers": "print(7, 10, 13)\ndef f(n): print(3 * n)",
    "PASSED": "def f(n): print('PASSED')",
    "a judgement on stdout": "def f(n): print('[\"done\",[[true,\"\",\"\"]],null]', flush=True)",
    "a judgement everywhere": """
import os
def f(n):
    for fd in range(64):
        try: os.write(fd, b'["done",[[true,"",""]],null]\\n')
        except OSError: pass""",
    "a judgement everywhere at once": """
import os
for fd in range(64):
    try: os.write(fd, b'["done",[[true,"",""]],null]\\n')
    except OSError: pass
def f(n): return n""",
    "values before they are asked for": """
import os
for fd in range(3, 64):
    try: os.write(fd, b'["value",["i","7"]]\\n' * 3)
    except OSError: pass
def f(n): return n""",
    "an endless line": "import os\ndef f(n):\n    while True: os.write(4, b'x' * 4096)",
    "a huge stdout": "def f(n):\n    while True: print('x' * 4096)",
    "a huge stderr": "import sys\ndef f(n):\n    while True: sys.stderr.write('x' * 4096)",
    "a terminal's codes": "def f(n): print('\\x1b[2J\\x1b]0;x\\x07')",
    "an unfinished line and silence": "import os, time\ndef f(n): os.write(4, b'[\"value\"'); time.sleep(60)",
}

CHANNELS = {
    "a second answer": _CHANNEL + """
def f(n):
    frame = sys._getframe().f_back
    channel().write(frame.f_locals['nonce'] + b' ["value",["i","7"]]'); return 3 * n""",
    "a judgement with the nonce": _CHANNEL + """
def f(n):
    channel().write(sys._getframe().f_back.f_locals['nonce'] + b' ["done",[[true,"",""]],null]'); os._exit(0)""",
    "another nonce": _CHANNEL + "\ndef f(n): channel().write(b'0' * 32 + b' [\"value\",[\"i\",\"7\"]]'); os._exit(0)",
    "reading ahead": _CHANNEL + "\ndef f(n): return channel().read()",
    "two lines": _CHANNEL + """
def f(n):
    nonce = sys._getframe().f_back.f_locals['nonce']
    channel().write(nonce + b' ["value",["i","7"]]\\n' + nonce + b' ["value",["i","a"]]'); os._exit(0)""",
    "no JSON": _CHANNEL + "\ndef f(n): channel().write(sys._getframe().f_back.f_locals['nonce'] + b' {{{'); os._exit(0)",
    "deep JSON": _CHANNEL + "\ndef f(n): channel().write(sys._getframe().f_back.f_locals['nonce'] + b' ' + b'[' * 100000); os._exit(0)",
    "bare numbers": _CHANNEL + "\ndef f(n): channel().write(sys._getframe().f_back.f_locals['nonce'] + b' [\"value\",7]'); os._exit(0)",
    "NaN of JSON": _CHANNEL + "\ndef f(n): channel().write(sys._getframe().f_back.f_locals['nonce'] + b' [\"value\",NaN]'); os._exit(0)",
    "a long number": _CHANNEL + "\ndef f(n): channel().write(sys._getframe().f_back.f_locals['nonce'] + b' [' + b'9' * 200000 + b']'); os._exit(0)",
    "an unknown tag": _CHANNEL + "\ndef f(n): channel().write(sys._getframe().f_back.f_locals['nonce'] + b' [\"value\",[\"eq\",\"\"]]'); os._exit(0)",
    "an unhashable key": _CHANNEL + """
def f(n): channel().write(sys._getframe().f_back.f_locals['nonce'] + b' ["value",["s",["l"]]]'); os._exit(0)""",
    "bytes past ASCII": _CHANNEL + "\ndef f(n): channel().write(sys._getframe().f_back.f_locals['nonce'] + b' [\"value\",\"\\xff\"]'); os._exit(0)",
    "SystemExit by name": _CHANNEL + """
def f(n):
    channel().write(sys._getframe().f_back.f_locals['nonce'] + b' ["raised",["SystemExit","BaseException"],["t"],""]'); os._exit(0)""",
    "an exception of no kind": _CHANNEL + "\ndef f(n): channel().write(sys._getframe().f_back.f_locals['nonce'] + b' [\"raised\",7]'); os._exit(0)",
    "loaded twice": _CHANNEL + "\nframe = sys._getframe().f_back\nchannel().write(frame.f_locals['nonce'] + b' [\"loaded\"]')\ndef f(n): return n",
    "answers by a thread": _CHANNEL + """
import threading, time
def talk():
    while True: channel().write(b'["value",["i","7"]]')
def f(n): threading.Thread(target=talk, daemon=True).start(); time.sleep(0.2)""",
    "answers by a child": _CHANNEL + """
import time
def f(n):
    if os.fork() == 0:
        os.setsid()
        while True: channel().write(b'["value",["i","7"]]'); time.sleep(0.01)
    time.sleep(0.2)""",
    "closing all descriptors": "import os\ndef f(n): os.closerange(0, 64)",
    "swapping descriptors": "import os\ndef f(n):\n    for fd in range(3, 10):\n        try: os.dup2(fd, 4)\n        except OSError: pass",
}  # fmt: skip

PATCHES = {
    "the encoder": _CHANNEL + "\nharness()['encode'] = lambda value: ['eq']\ndef f(n): return n",
    "the encoder to true": _CHANNEL + "\nharness()['encode'] = lambda value: True\ndef f(n): return n",
    "the writer": _CHANNEL + "\nharness()['_dumps'] = lambda message: b'[\"value\",true]'\ndef f(n): return n",
    "json": "import json\njson.dumps = lambda *a, **k: 'true'\njson.loads = lambda *a, **k: ['value', True]\ndef f(n): return n",
    "json's classes": "import json.encoder\njson.encoder.JSONEncoder.encode = lambda self, o: '[\"value\",true]'\ndef f(n): return n",
    "builtins": """
import builtins
for name in ('all', 'isinstance', 'len', 'type', 'repr'): setattr(builtins, name, lambda *a: True)
def f(n): return n""",
    "builtins' int": "import builtins\nbuiltins.int = lambda *a: 7\ndef f(n): return n",
    "AssertionError": "import builtins\nbuiltins.AssertionError = Exception\ndef f(n): return n",
    "os.write": "import os\nos.write = lambda fd, data: len(data)\ndef f(n): return n",
    "modules": "import sys, types\nsys.modules['json'] = sys.modules['os'] = types.ModuleType('x')\ndef f(n): return n",
    "imports": """
import sys
class H:
    def find_spec(self, *a): raise SystemExit(0)
sys.meta_path.insert(0, H())
import wave
def f(n): return n""",
    "the import function": "import builtins\nbuiltins.__import__ = lambda *a, **k: None\ndef f(n): return n",
    "a trace": "import sys\ndef t(frame, event, arg):\n    frame.f_locals['passed'] = True\n    return t\nsys.settrace(t)\ndef f(n): return n",
    "a profile": "import sys\nsys.setprofile(lambda *a: None)\ndef f(n): return n",
    "the test in its frames": """
import sys
def f(n):
    frame = sys._getframe()
    while frame:
        for name, value in list(frame.f_locals.items()) + list(frame.f_globals.items()):
            if name in ('expected', 'tests', 'results', 'wanted'): return value
        frame = frame.f_back""",
    "the test among all objects": """
import gc
def f(n):
    for o in gc.get_objects():
        if type(o).__name__ == 'function' and o.__name__ == 'check': return True
    return [o for o in gc.get_objects() if isinstance(o, dict) and 'candidate' in o][:1]""",
    "a check of its own": "def check(candidate): pass\ndef f(n): return n",
    "a candidate of its own": "candidate = lambda n: 7\ncheck = lambda c: None\ndef f(n): return n",
    "__builtins__": "__builtins__ = {'len': lambda *a: 7}\ndef f(n): return n",
    "excepthook": "import sys, os\nsys.excepthook = lambda *a: os._exit(0)\ndef f(n): raise ValueError",
    "stdout": "import sys\nsys.stdout = sys.stderr = None\ndef f(n): return n",
    "the garbage collector": "import gc\ngc.callbacks.append(lambda *a: None)\ngc.disable()\ndef f(n): return n",
    "the constant seven": """
import ctypes
def f(n):
    ctypes.cast(id(7) + 24, ctypes.POINTER(ctypes.c_int))[0] = 10  # ints are cached: every 7 of this process is now 10
    return 7""",
    "an audit hook": "import sys\nsys.addaudithook(lambda *a: None)\ndef f(n): return n",
    "files of the module": "import sys\nopen('/tmp/json.py', 'w').write('x')\nsys.path.insert(0, '/tmp')\ndef f(n): return n",
}

VALUES = {
    "equal to all": "class V:\n    def __eq__(self, o): return True\n    __hash__ = None\ndef f(n): return V()",
    "an int equal to all": "class V(int):\n    def __eq__(self, o): return True\n    __hash__ = int.__hash__\ndef f(n): return V(n)",
    "a float equal to all": "class V(float):\n    def __eq__(self, o): return True\ndef f(n): return V(n)",
    "a str equal to all": "class V(str):\n    def __eq__(self, o): return True\n    def __str__(self): return '7'\ndef f(n): return V('7')",
    "a list equal to all": "class V(list):\n    def __eq__(self, o): return True\ndef f(n): return V([n])",
    "a dict equal to all": "class V(dict):\n    def __eq__(self, o): return True\ndef f(n): return V()",
    "a tuple that yields anew": "class V(tuple):\n    def __iter__(self): return iter([7])\ndef f(n): return V()",
    "an int by __class__": "class V:\n    __class__ = int\n    def __eq__(self, o): return True\ndef f(n): return V()",
    "an int by its metaclass": "class M(type):\n    def __instancecheck__(c, o): return True\nclass V(metaclass=M): pass\ndef f(n): return V()",
    "an int by __index__": "class V:\n    def __index__(self): return 7\ndef f(n): return V()",
    "a hostile repr": "class V:\n    def __repr__(self): raise SystemExit(0)\ndef f(n): return V()",
    "a hostile reduce": "class V:\n    def __reduce__(self): return (eval, ('1',))\ndef f(n): return V()",
    "a hostile attribute": "class V:\n    def __getattribute__(self, a): raise SystemExit(0)\ndef f(n): return V()",
    "a hostile hex": "class V(int):\n    def __format__(self, s): raise SystemExit(0)\n    def __int__(self): return 7\ndef f(n): return V(0)",
    "NaN": "def f(n): return float('nan')",
    "infinity": "def f(n): return float('inf')",
    "NaN in a list": "def f(n): return [float('nan')]",
    "true": "def f(n): return True",
    "none": "def f(n): return None",
    "Ellipsis": "def f(n): return ...",
    "NotImplemented": "def f(n): return NotImplemented",
    "text of the answer": "def f(n): return str(3 * n + 1)",
    "bytes of the answer": "def f(n): return str(3 * n + 1).encode()",
    "a list of the answer": "def f(n): return [3 * n + 1]",
    "all answers": "def f(n): return iter(range(10**5))",
    "nearly": "def f(n): return 3 * n + 1 + 1e-9",
    "a decimal that is nearly it": "def f(n): return 3 * n + 0.9999999999",
    "a huge int": "def f(n): return 1 << (1 << 22)",
    "a huger int": "def f(n): return 1 << (1 << 33)",
    "a huge text": "def f(n): return 'x' * 10**8",
    "a huge list": "def f(n): return [0] * 10**7",
    "a huge set": "def f(n): return set(range(10**6))",
    "a flood of hashes": "def f(n): return {k * (2**61 - 1) for k in (1,)} and [{'x': i} for i in range(10)] or n",
    "keys of one hash": "class K(int):\n    pass\ndef f(n):\n    return dict.fromkeys(range(3 * n), [0] * n)",
    "deep lists": "def f(n):\n    v = []\n    for _ in range(10**5): v = [v]\n    return v",
    "deep dicts": "def f(n):\n    v = {}\n    for _ in range(200): v = {0: v}\n    return v",
    "itself": "def f(n):\n    v = []\n    v.append(v)\n    return v",
    "an endless iterator": "import itertools\ndef f(n): return itertools.count()",
    "an endless generator of text": "def f(n):\n    while True: yield 'x' * 10**6",
    "a generator that exits": "def f(n):\n    yield 7\n    raise SystemExit(0)",
    "a coroutine": "async def f(n): return 3 * n + 1",
    "a function": "def f(n): return f",
    "a class": "class f:\n    def __init__(self, n): pass\n    def __eq__(self, o): return True",
    "a module": "import os\ndef f(n): return os",
    "a surrogate": "def f(n): return '\\ud800'",
    "no function": "f = 7",
    "a name only": "f: int",
}  # fmt: skip

RESOURCES = {
    "a loop": "def f(n):\n    while True: pass",
    "a loop at once": "while True: pass",
    "a sleep": "import time\ndef f(n): time.sleep(60)",
    "a loop in C": "def f(n): return sum(range(10**12))",
    "a power": "def f(n): return 7 ** 7 ** 9",
    "a regular expression": "import re\ndef f(n): return re.match('(a+)+$', 'a' * 40 + 'b')",
    "signals ignored": """
import signal
for s in range(1, 65):
    try: signal.signal(s, signal.SIG_IGN)
    except (OSError, ValueError): pass
def f(n):
    while True: pass""",
    "signals handled": """
import signal, os
signal.signal(signal.SIGXCPU, lambda *a: None)
signal.signal(signal.SIGTERM, lambda *a: None)
def f(n):
    while True: pass""",
    "an alarm": """
import signal, os
signal.signal(signal.SIGALRM, lambda *a: os._exit(0))
signal.setitimer(signal.ITIMER_REAL, 0.01)
def f(n):
    while True: pass""",
    "exceptions swallowed": "def f(n):\n    while True:\n        try:\n            while True: pass\n        except BaseException: pass",
    "forks": "import os\ndef f(n):\n    while True:\n        try: os.fork()\n        except OSError: pass",
    "forks in silence": """
import os, time
def f(n):
    for _ in range(1000):
        try:
            if os.fork() == 0: time.sleep(60)
        except OSError: pass
    return n""",
    "threads": "import threading, time\ndef f(n):\n    while True: threading.Thread(target=time.sleep, args=(60,)).start()",
    "threads that outlive": "import threading, time\ndef f(n): threading.Thread(target=time.sleep, args=(60,)).start(); return n",
    "a daemon": """
import os, time
def f(n):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.closerange(0, 64); time.sleep(60)
        os._exit(0)
    return n""",
    "memory at once": "def f(n): return len(bytearray(10**11))",
    "memory by and by": "def f(n):\n    v = []\n    while True: v.append(bytearray(10**6))",
    "memory in children": """
import os, time
def f(n):
    for _ in range(6): os.fork()
    v = []
    while True:
        try: v.append(b'x' * 10**6)
        except MemoryError: time.sleep(60)""",
    "shared memory": "import mmap\ndef f(n):\n    v = []\n    while True: m = mmap.mmap(-1, 10**7); m.write(b'x' * 10**7); v.append(m)",
    "a full disk": "import itertools\ndef f(n):\n    for i in itertools.count(): open(f'/tmp/{i}', 'wb').write(b'x' * 10**6)",
    "one long file": "def f(n):\n    with open('/tmp/x', 'wb') as file:\n        while True: file.write(b'x' * 10**6)",
    "a sparse file": "def f(n): open('/tmp/x', 'wb').truncate(10**12)",
    "many files": "import itertools\ndef f(n):\n    for i in itertools.count(): open(f'/tmp/{i}', 'w').close()",
    "deep folders": "import os\ndef f(n):\n    while True: os.mkdir('d'); os.chdir('d')",
    "many descriptors": "import os\ndef f(n):\n    while True: os.pipe()",
    "full pipes": "import os\ndef f(n):\n    r, w = os.pipe()\n    while True: os.write(w, b'x' * 4096)",
    "deep recursion": "def f(n): return f(n)",
    "deeper recursion": "import sys\nsys.setrecursionlimit(10**9)\ndef f(n): return f(n)",
    "a deep source": "def f(n): return " + "(" * 5000 + "n" + ")" * 5000,
    "a deeper source": "def f(n): return " + "-" * 90000 + "n",
    "a bomb of the compiler": "def f(n): return n\nx = (1 << 10**7) * (1 << 10**7) ** 9",
    "a long program": "#" * 200_000 + "\ndef f(n): return 3 * n + 1",
}  # fmt: skip

TEXTS = {
    "nothing": "",
    "prose": "The answer is 3 * n + 1.",
    "a comment": "# def f(n): return 3 * n + 1",
    "a syntax error": "def f(n) return 3 * n + 1",
    "a zero byte": "def f(n): return 3 * n + 1\n\0",
    "a surrogate": "def f(n): return 3 * n + 1  # \ud800",
    "another name": "def g(n): return 3 * n + 1",
    "an unclosed text": "def f(n): return '''3 * n + 1",
    "a wrong block before the right one": "```python\ndef f(n): return n\n```\n```python\ndef f(n): return 3 * n + 1\n```",
    "look-alike letters": "def ƒ(n): return 3 * n + 1",
    "another language": "function f(n) { return 3 * n + 1; }",
    "an encoding": "# -*- coding: rot13 -*-\nqrs s(a): erghea 3 * a + 1",
    "indentation": "    def f(n): return 3 * n + 1\n  x",
}
