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
import json
import os
import re
import subprocess
import sys
import tarfile

LANGUAGES = {'.py': 'python', '.pm': 'perl', '.pl': 'perl', '.tcl': 'tcl', '.go': 'go',
             '.rs': 'rust', '.rb': 'ruby', '.hpp': 'cpp', '.ipp': 'cpp', '.c': 'c', '.h': 'c'}
SHORTEST = 1000  # letters of a document, but for the last of a file
LONGEST = 5000  # letters of a paragraph
MOST = 6_000_000  # letters of a language


def documents(text):
    """Yields the documents of a file: paragraphs that have SHORTEST letters together, or what is
    left of it at its end."""
    document = ''
    for paragraph in re.split(r'\n\s*\n', text):
        if len(paragraph) > LONGEST:
            continue
        document += paragraph + '\n\n'
        if len(document) >= SHORTEST:
            yield document
            document = ''
    if document.strip():
        yield document


def read_files(path):
    """Yields (language, name, text) of the programs in a Debian package, in UTF-8."""
    with subprocess.Popen(['dpkg-deb', '--fsys-tarfile', path], stdout=subprocess.PIPE) as process:
        with tarfile.open(fileobj=process.stdout, mode='r|') as archive:
            for member in archive:
                language = LANGUAGES.get(os.path.splitext(member.name)[1])
                if language and member.isfile():
                    try:
                        yield language, member.name, archive.extractfile(member).read().decode()
                    except UnicodeDecodeError:  # Latin-1, in a few
                        continue


if __name__ == '__main__':
    if len(sys.argv) < 3:
        sys.exit('programs.py: name the folder to write, then Debian packages')
    folder, *packages = sys.argv[1:]
    os.makedirs(folder, exist_ok=True)
    files = collections.defaultdict(list)
    for path in packages:
        for language, name, text in read_files(path):
            digest = hashlib.sha256(os.path.basename(name).encode()).digest()
            if 'DO NOT EDIT' not in text[:1000].upper():
                files[language].append((int.from_bytes(digest, 'big'), text))
    rows = {split: [] for split in ('train', 'val', 'test')}
    for language, of_language in files.items():
        letters = 0
        for number, text in sorted(of_language):
            digit, letters = number % 20, letters + len(text)
            if letters <= MOST:
                rows['val' if digit < 3 else 'test' if digit < 6 else 'train'] += [
                    {'text': document, 'label': language} for document in documents(text)]
    for split in rows:
        with open(os.path.join(folder, f'{split}.jsonl'), 'w', encoding='utf-8') as f:
            f.writelines(json.dumps(row, ensure_ascii=False) + '\n' for row in rows[split])
    print(f'{folder}/: {", ".join(f"{len(rows[split]):,} {split}" for split in rows)} documents')
