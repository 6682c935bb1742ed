// SPDX-License-Identifier: Apache-2.0

package source

import (
	"bytes"
	"crypto/sha256"
	"sync"
	"sync/atomic"

	"go.yaml.in/yaml/v3"

	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
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

// fileText is a file cut into parts; of an empty one there are none.
type fileText struct {
	path  string
	parts []part
	keys  []partKey
}

func newFileText(path string, data []byte) fileText {
	f := fileText{path: path}
	if len(bytes.TrimSpace(data)) == 0 {
		return f
	}
	f.parts = parts(data)
	for _, p := range f.parts {
		f.keys = append(f.keys, partKey{path, p.line, sha256.Sum256(p.text)})
	}
	return f
}

// Reading ahead is for many new parts: below aheadFrom it is not worth a goroutine. More than aheadReaders would keep
// traffic from its CPUs.
const (
	aheadFrom    = 64
	aheadReaders = 2
)

// readAhead reads the parts that are new side by side.
func (s *scan) readAhead(files []fileText) {
	type job struct {
		path string
		part part
		key  partKey
		out  *read
	}
	var jobs []job
	for _, f := range files {
		for i, p := range f.parts {
			if s.before[f.keys[i]] == nil {
				jobs = append(jobs, job{path: f.path, part: p, key: f.keys[i]})
			}
		}
	}
	if len(jobs) < aheadFrom {
		return
	}
	var next atomic.Int64
	var readers sync.WaitGroup
	for range aheadReaders {
		readers.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(jobs)); i = next.Add(1) - 1 {
				jobs[i].out = readPart(jobs[i].path, s.namespace, jobs[i].part)
			}
		})
	}
	readers.Wait()
	s.ahead = make(map[partKey]*read, len(jobs))
	for i := range jobs {
		s.ahead[jobs[i].key] = jobs[i].out
	}
}

// isMarker tells whether a line starts with those three characters, by themselves.
func isMarker(line []byte, marker string) bool {
	return bytes.HasPrefix(line, []byte(marker)) && (len(line) == 3 || bytes.IndexByte([]byte(" \t\r\n"), line[3]) >= 0)
}

// partKey says when a part reads as it did before: the same text at the same place.
type partKey struct {
	path string
	line int
	sum  [sha256.Size]byte
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
				s.fail(path, b.line, b.message, b.fix)
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
