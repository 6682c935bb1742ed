// SPDX-License-Identifier: Apache-2.0

package source

import (
	"bytes"
	"crypto/sha256"

	"go.yaml.in/yaml/v3"

	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
	"github.com/umbra-mesh/umbra/internal/spread"
)

// part is a file's text from one document marker to the next, which can be read by itself.
type part struct {
	text []byte
	line int // lines of the file before it
}

// parts cuts a file before each document marker. A file with directives or document ends stays whole, as they say
// something of what follows; so does what may be JSON.
func parts(data []byte) []part {
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	if start := bytes.TrimLeft(data, " \t\r\n"); len(start) > 0 && start[0] == '{' {
		return []part{{text: data}}
	}
	var all []part
	from, line, fromLine := 0, 0, 0
	for at := 0; at < len(data); line++ {
		rest := data[at:]
		switch {
		case rest[0] == '%', isMarker(rest, "..."):
			return []part{{text: data}}
		case at > 0 && isMarker(rest, "---"):
			all = append(all, part{data[from:at], fromLine})
			from, fromLine = at, line
		}
		end := bytes.IndexByte(rest, '\n')
		if end < 0 {
			break
		}
		at += end + 1
	}
	return append(all, part{data[from:], fromLine})
}

// document is a part and what it says by itself.
type document struct {
	line int // of part
	sum  digest
	read *read
}

// fileRead is what one file says. It is immutable once the Load that makes it is done. Of an empty file there are no
// parts.
type fileRead struct {
	path  string
	sum   digest
	parts []document
}

// fewParts are read faster by one goroutine than by two.
const fewParts = 32

// fileReads reads files, as far as they are not what they were before.
func fileReads(files []fileData, namespace string, before map[string]*fileRead) []*fileRead {
	type job struct {
		path string
		part part
		out  *document
	}
	var jobs []job
	all := make([]*fileRead, len(files))
	for i, f := range files {
		old := before[f.path]
		if old != nil && old.sum == f.sum {
			all[i] = old
			continue
		}
		all[i] = &fileRead{path: f.path, sum: f.sum}
		if len(bytes.TrimSpace(f.data)) == 0 {
			continue
		}
		texts := parts(f.data)
		known := old.documents()
		all[i].parts = make([]document, len(texts))
		for k, p := range texts {
			d := &all[i].parts[k]
			*d = document{line: p.line, sum: sha256.Sum256(p.text)}
			if d.read = known[*d]; d.read == nil {
				jobs = append(jobs, job{f.path, p, d})
			}
		}
	}
	spread.Each(len(jobs), fewParts, func(i int) {
		j := &jobs[i]
		j.out.read = readPart(j.path, namespace, j.part)
	})
	for _, f := range all {
		if old := before[f.path]; old != nil && old != f && len(f.parts) == 1 && len(old.parts) == 1 {
			f.parts[0].read.like(old.parts[0].read) // perhaps a list of very many
		}
	}
	return all
}

// documents are the parts by what they are without what was read of them.
func (f *fileRead) documents() map[document]*read {
	if f == nil {
		return nil
	}
	m := make(map[document]*read, len(f.parts))
	for _, d := range f.parts {
		m[document{line: d.line, sum: d.sum}] = d.read
	}
	return m
}

// isMarker tells whether a line starts with those three characters, by themselves.
func isMarker(line []byte, marker string) bool {
	return bytes.HasPrefix(line, []byte(marker)) && (len(line) == 3 || bytes.IndexByte([]byte(" \t\r\n"), line[3]) >= 0)
}

// read is what one part says by itself. It is immutable once it is made.
type read struct {
	namespace string
	resources []*Resource
	problems  []mesh.Problem
	broken    bool // cannot be told apart into resources
	ended     bool // by a syntax error: what follows in the file is not read
}

// readPart reads one part.
func readPart(path, namespace string, p part) *read {
	s := &read{namespace: namespace}
	docs, err := parse(p.text)
	for _, d := range docs {
		shift(d, p.line)
		plain := &plainer{nodes: nodes{left: count(d)}}
		n, err := plain.plain(d, 0, false)
		if err != nil {
			s.syntax(path, p, err, 0)
			return s
		}
		s.document(path, n, plain.problems, listOf{}, 0)
		for _, b := range plain.problems {
			if !b.said {
				s.fail(path, b.line, "", b.message, b.fix)
			}
		}
	}
	if err != nil {
		s.syntax(path, p, err, p.line)
	}
	return s
}

// shift makes the lines of a tree those of the file.
func shift(n *yaml.Node, lines int) {
	if lines == 0 {
		return
	}
	n.Line += lines
	for _, c := range n.Content {
		shift(c, lines)
	}
}

// like takes over the resources of an earlier reading that are the same to the last line, so that whoever knows them by
// pointer has nothing to do.
func (s *read) like(before *read) {
	if before == nil {
		return
	}
	known := make(map[Key]*Resource, len(before.resources))
	for _, r := range before.resources {
		known[r.Key()] = r
	}
	for i, r := range s.resources {
		if old := known[r.Key()]; old != nil && old.APIVersion == r.APIVersion && sameTree(old.Node, r.Node) {
			s.resources[i] = old
		}
	}
}

func sameTree(a, b *Node) bool {
	if a.Kind != b.Kind || a.Tag != b.Tag || a.Value != b.Value || a.Line != b.Line ||
		len(a.Content) != len(b.Content) {
		return false
	}
	for i := range a.Content {
		if !sameTree(a.Content[i], b.Content[i]) {
			return false
		}
	}
	return true
}
