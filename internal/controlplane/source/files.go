// SPDX-License-Identifier: Apache-2.0

package source

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// Stdin is the input that reads Options.Stdin.
const Stdin = "-"

// file is one thing to read. One that is not regular is read once only.
type file struct {
	path    string
	regular bool
}

// files lists what the inputs name, each file once, in a fixed order.
func (l *Loader) files() ([]file, error) {
	if len(l.inputs) == 0 {
		return nil, errors.New("no input: name a folder, a file or -")
	}
	var all []file
	seen := map[string]bool{}
	add := func(f file) {
		id := f.path
		if abs, err := filepath.Abs(f.path); err == nil && f.path != Stdin {
			id = abs
		}
		if !seen[id] {
			seen[id] = true
			all = append(all, f)
		}
	}
	for _, in := range l.inputs {
		if in == Stdin {
			add(file{path: Stdin})
			continue
		}
		info, err := os.Stat(in)
		if err != nil {
			return nil, fmt.Errorf("read input: %w", err)
		}
		if !info.IsDir() {
			add(file{path: in, regular: info.Mode().IsRegular()})
			continue
		}
		found, err := folder(in, l.opts.Recursive)
		if err != nil {
			return nil, err
		}
		if len(found) == 0 {
			return nil, fmt.Errorf("read input: no .yaml, .yml or .json file in folder %q", in)
		}
		for _, f := range found {
			add(f)
		}
	}
	return all, nil
}

// folder lists the resource files of dir by name. Names that begin with a dot are left out: editors' swap files, and
// the ..data links of a mounted ConfigMap, whose files are there under their own names too. Links to folders are not
// followed.
func folder(dir string, recursive bool) ([]file, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read input: %w", err)
	}
	var found []file
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			continue
		}
		path := filepath.Join(dir, e.Name())
		switch {
		case e.IsDir() && recursive:
			below, err := folder(path, true)
			if err != nil {
				return nil, err
			}
			found = append(found, below...)
		case !e.IsDir() && hasExtension(e.Name()):
			info, err := os.Stat(path)
			if err != nil {
				return nil, fmt.Errorf("read input: %w", err)
			}
			if info.Mode().IsRegular() {
				found = append(found, file{path: path, regular: true})
			}
		}
	}
	return found, nil
}

func hasExtension(name string) bool {
	switch filepath.Ext(name) {
	case ".yaml", ".yml", ".json":
		return true
	}
	return false
}

// read is the content of one file. The caller holds l.mu.
func (l *Loader) read(f file) ([]byte, error) {
	if f.regular {
		return readFile(f.path)
	}
	if data, ok := l.once[f.path]; ok {
		return data, nil
	}
	data, err := func() ([]byte, error) {
		if f.path != Stdin {
			return readFile(f.path)
		}
		if l.opts.Stdin == nil {
			return nil, errors.New("read input: no standard input")
		}
		return readAll("standard input", l.opts.Stdin)
	}()
	if err == nil {
		l.once[f.path] = data
	}
	return data, err
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read input: %w", err)
	}
	defer f.Close()
	return readAll(path, f)
}

func readAll(name string, r io.Reader) ([]byte, error) {
	var b bytes.Buffer
	n, err := b.ReadFrom(io.LimitReader(r, MaxFileBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read input %s: %w", name, err)
	}
	if n > MaxFileBytes {
		return nil, fmt.Errorf("read input %s: larger than %d MiB", name, MaxFileBytes>>20)
	}
	return b.Bytes(), nil
}

// digest stands for names and contents; two readings with the same digest gave the same resources.
type digest [sha256.Size]byte

type digester struct{ h hash.Hash }

func newDigester() digester { return digester{sha256.New()} }

func (d digester) add(path string, data []byte) {
	var sizes [16]byte
	binary.BigEndian.PutUint64(sizes[:8], uint64(len(path)))
	binary.BigEndian.PutUint64(sizes[8:], uint64(len(data)))
	d.h.Write(sizes[:])
	d.h.Write([]byte(path))
	d.h.Write(data)
}

func (d digester) digest() digest { return digest(d.h.Sum(nil)) }
