"""Manual pages in several languages as a source for prepare.py: other kinds of text for the law.

    apt-get download manpages-{de,fr,es,pl,pt-br,it,nl,ru}    # Debian 12: version 4.18.1-1
    python studies/manpages.py languages manpages-*.deb
    python prepare.py --source=languages --dataset=languages --vocab_size=1024

A document is some paragraphs of a page, without troff's requests, examples (programs are in
English everywhere) and tables. All of a page, in all languages, is in one split: a hash of the
page's name deals three twentieths each to val and test. Writes languages/{train,val,test}.jsonl
with the columns text and label.
"""
import gzip
import hashlib
import json
import os
import re
import subprocess
import sys
import tarfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from configurator import fail

LETTERS = {'-': '-', 'e': '\\', ' ': ' ', '(aq': "'", '(dq': '"', '(bu': '-', '(em': '-',
           '(en': '-', '(lq': '"', '(rq': '"', '(oq': "'", '(cq': "'", '(ti': '~', '(ha': '^'}
ESCAPE = re.compile(r'\\(f\[[^]]*\]|f\(..|f.|s[-+]?\d+|m\[[^]]*\]|\*?\(..|\*?\[[^]]*\]|".*|.)')
TEXT_MACROS = {'B', 'I', 'SB', 'SM', 'BR', 'RB', 'BI', 'IB', 'RI', 'IR', 'Nm', 'Fl', 'Ar'}
SHORTEST = 1000  # letters of a document, but for the last of a section
NO_TEXT = re.compile(r"(?ms)^\.\s*(EX|nf|TS)\b.*?^\.\s*(EE|fi|TE)\b.*?\n|^['.]\\\".*?\n")

def plain(line):
    """Returns a line of troff as text: a macro of fonts gives its arguments, another request ''."""
    if match := re.match(r"[.']\s*(\w*)\s*(.*)", line):
        macro, words = match.groups()
        if macro not in TEXT_MACROS:
            return ''
        words = [a or b for a, b in re.findall(r'"([^"]*)"|((?:\\.|\S)+)', words)]
        line = ('' if len(macro) == 2 and macro not in ('SB', 'SM') else ' ').join(words)
    return ESCAPE.sub(lambda match: LETTERS.get(match[1], ''), line)

def documents(page):
    """Yields the documents of a manual page: paragraphs of a section that have SHORTEST letters
    together, or what is left of it at its end."""
    for section in re.split(r'(?m)^\.\s*(?:SH|Sh)\b.*\n', NO_TEXT.sub('', page))[1:]:
        paragraphs = re.split(r'(?m)^\.\s*(?:PP|P|LP|TP|IP|Pp|SS|It)\b.*\n', section)
        lines = ((plain(line).rstrip() for line in x.split('\n')) for x in paragraphs)
        yield from joined('\n'.join(filter(None, x)) + '\n' for x in lines)

def joined(paragraphs):
    """Yields texts of as many paragraphs as have SHORTEST letters together, and what is left."""
    text = ''
    for paragraph in paragraphs:
        text += paragraph
        if len(text) >= SHORTEST:
            yield text
            text = ''
    if text.strip():
        yield text

def read_package(path):
    """Yields (name, content in bytes) of the files in a Debian package; fails on any other file."""
    with subprocess.Popen(['dpkg-deb', '--fsys-tarfile', path], stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL) as process:
        try:
            with tarfile.open(fileobj=process.stdout, mode='r|') as archive:
                for member in archive:
                    if member.isfile():
                        yield member.name, archive.extractfile(member).read()
        except tarfile.ReadError as e:
            fail(f'{path} is no Debian package ({e})')

def read_pages(path):
    """Yields (language, name of the page, its text) of a Debian package of manual pages; fails on a
    page that is not in UTF-8."""
    for name, content in read_package(path):
        if match := re.search(r'/man/(\w+)/man\w+/(.*)\.gz$', name):
            try:
                yield match[1], match[2], gzip.decompress(content).decode()
            except UnicodeDecodeError:
                fail(f'{path}: {name} is not in UTF-8')

def deal(documents):
    """Returns {split: rows with text and label} of (text, label, the name that deals it)."""
    rows = {split: [] for split in ('train', 'val', 'test')}
    for text, label, name in documents:
        digit = int.from_bytes(hashlib.sha256(name.encode()).digest(), 'big') % 20
        split = 'val' if digit < 3 else 'test' if digit < 6 else 'train'
        rows[split].append({'text': text, 'label': label})
    return rows

def write(folder, rows):
    """Writes what deal returns to folder/{train,val,test}.jsonl, and says how much it is."""
    os.makedirs(folder, exist_ok=True)
    for split in rows:
        with open(os.path.join(folder, f'{split}.jsonl'), 'w', encoding='utf-8') as f:
            f.writelines(json.dumps(row, ensure_ascii=False) + '\n' for row in rows[split])
    print(f'{folder}/: {", ".join(f"{len(rows[split]):,} {split}" for split in rows)} documents')

if __name__ == '__main__':
    if len(sys.argv) < 3:
        fail('name the folder to write, then Debian packages')
    folder, *packages = sys.argv[1:]
    write(folder, deal((text, language, name) for path in packages
                       for language, name, page in read_pages(path) for text in documents(page)))
