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
	"sync"

	"github.com/umbra-mesh/umbra/internal/spread"
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
		if in == "" {
			return nil, errors.New("read input: the path is empty: name a folder, a file or -")
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
			return nil, nothingIn(in, l.opts.Recursive)
		}
		for _, f := range found {
			add(f)
		}
	}
	return all, nil
}

// nothingIn is the error of a folder without a file to read.
func nothingIn(dir string, recursive bool) error {
	hint := ""
	if below, err := folder(dir, true); err == nil && len(below) > 0 && !recursive {
		hint = ": those of its subfolders are read with -R"
	}
	return fmt.Errorf("read input: no .yaml, .yml or .json file in folder %q%s", dir, hint)
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

// read is the content of an input that can be read only once. The caller holds l.mu.
func (l *Loader) read(path string) ([]byte, error) {
	if data, ok := l.once[path]; ok {
		return data, nil
	}
	var b bytes.Buffer
	err := func() error {
		if path != Stdin {
			return readFile(&b, path)
		}
		if l.opts.Stdin == nil {
			return errors.New("read input: no standard input")
		}
		return readAll(&b, "standard input", l.opts.Stdin)
	}()
	if err != nil {
		return nil, err
	}
	l.once[path] = b.Bytes()
	return b.Bytes(), nil
}

// fileData is a file as it is, without data if it is as it was.
type fileData struct {
	path string
	data []byte
	sum  digest
}

// buffers are for what is only looked at.
var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// fewFiles are read faster by one goroutine than by two.
const fewFiles = 32

// contents reads all files. The caller holds l.mu.
func (l *Loader) contents(files []file) ([]fileData, error) {
	all, errs := make([]fileData, len(files)), make([]error, len(files))
	once := make([][]byte, len(files))
	for i, f := range files {
		if !f.regular {
			once[i], errs[i] = l.read(f.path)
		}
	}
	spread.Each(len(files), fewFiles, func(i int) {
		all[i].path = files[i].path
		if !files[i].regular {
			all[i].data, all[i].sum = once[i], sha256.Sum256(once[i])
			return
		}
		b := buffers.Get().(*bytes.Buffer)
		b.Reset()
		errs[i] = readFile(b, files[i].path)
		all[i].sum = sha256.Sum256(b.Bytes())
		if old := l.last[files[i].path]; old == nil || old.sum != all[i].sum {
			all[i].data = bytes.Clone(b.Bytes())
		}
		buffers.Put(b)
	})
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}

func readFile(to *bytes.Buffer, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("read input: %w", err)
	}
	defer f.Close()
	return readAll(to, path, f)
}

func readAll(to *bytes.Buffer, name string, r io.Reader) error {
	n, err := to.ReadFrom(io.LimitReader(r, MaxFileBytes+1))
	if err != nil {
		return fmt.Errorf("read input %s: %w", name, err)
	}
	if n > MaxFileBytes {
		return fmt.Errorf("read input %s: larger than %d MiB", name, MaxFileBytes>>20)
	}
	return nil
}

// digest stands for names and contents; two readings with the same digest gave the same resources.
type digest [sha256.Size]byte

type digester struct{ h hash.Hash }

func newDigester() digester { return digester{sha256.New()} }

// add takes in a file by the digest of its content.
func (d digester) add(path string, content digest) {
	var size [8]byte
	binary.BigEndian.PutUint64(size[:], uint64(len(path)))
	d.h.Write(size[:])
	d.h.Write([]byte(path))
	d.h.Write(content[:])
}

func (d digester) digest() digest { return digest(d.h.Sum(nil)) }
