"""Programs in eight languages as a source for prepare.py: other kinds of text for the law.

    apt-get download libpython3.11-stdlib perl-modules-5.36 tcllib golang-1.19-src rust-src \\
        libruby3.1 libboost1.74-dev openafs-modules-dkms      # Debian 12; LOG.md has the versions
    python studies/programs.py programs *.deb
    python prepare.py --source=programs --dataset=programs --vocab_size=1024

A document is some paragraphs of a file, code and comments as they are, but for runs of blank lines.
Left out are paragraphs of more than 5,000 letters, which are tables of data, and files that say
that they were generated. Files of one name are in one split: a hash of it deals three twentieths
each to val and test, and chooses the files where a language has more than 6 million letters. Writes
programs/{train,val,test}.jsonl with the columns text and label, the language that the name's ending
says.
"""
import collections
import hashlib
import itertools
import os
import re
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from configurator import fail
from studies.manpages import deal, joined, read_package, write

LANGUAGES = {'.py': 'python', '.pm': 'perl', '.pl': 'perl', '.tcl': 'tcl', '.go': 'go',
             '.rs': 'rust', '.rb': 'ruby', '.hpp': 'cpp', '.ipp': 'cpp', '.c': 'c', '.h': 'c'}
LONGEST = 5000  # letters of a paragraph
MOST = 6_000_000  # letters of a language

def documents(text):
    """Yields the documents of a file: paragraphs as `joined` joins them, without those
    that are longer than LONGEST."""
    paragraphs = re.split(r'\n\s*\n', text)
    return joined(paragraph + '\n\n' for paragraph in paragraphs if len(paragraph) <= LONGEST)

def read_files(packages):
    """Returns {language: [(hash of the name, name, text)]} of the programs in Debian packages that
    are in UTF-8 and do not say that they were generated."""
    files = collections.defaultdict(list)
    for path, content in itertools.chain.from_iterable(map(read_package, packages)):
        name, language = os.path.basename(path), LANGUAGES.get(os.path.splitext(path)[1])
        try:
            text = content.decode() if language else ''
        except UnicodeDecodeError:  # Latin-1, in a few
            continue
        if text and 'DO NOT EDIT' not in text[:1000].upper():
            files[language].append((hashlib.sha256(name.encode()).digest(), name, text))
    return files

if __name__ == '__main__':
    if len(sys.argv) < 3:
        fail('name the folder to write, then Debian packages')
    folder, *packages = sys.argv[1:]
    chosen = []
    for language, of_language in read_files(packages).items():
        letters = 0
        for _, name, text in sorted(of_language):
            letters += len(text)
            if letters <= MOST:
                chosen += [(document, language, name) for document in documents(text)]
    write(folder, deal(chosen))
