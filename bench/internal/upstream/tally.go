// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"encoding/json"
	"fmt"
)

// CountPath is where an upstream tells what it saw. Asking is not counted.
const CountPath = "/count"

// maxPaths bounds the table of paths; the rest is counted under otherPath.
const (
	maxPaths  = 4096
	otherPath = "(other)"
)

// Counts is what an upstream answers at CountPath.
type Counts struct {
	Paths  map[string]Seen `json:"paths"`
	Broken int64           `json:"broken"` // connections that ended inside a request, or spoke something else
}

// Seen counts the requests of one path whose last body byte was read.
type Seen struct {
	Requests int64 `json:"requests"`
	Shadow   int64 `json:"shadow"` // of them, those whose Host ends in -shadow
	Bytes    int64 `json:"bytes"`  // of their bodies
}

// tally is one path's counts.
type tally struct {
	seen Seen
	asks bool // the path is CountPath
}

// tallies are the counts of the process, used by its one thread.
type tallies struct {
	paths  map[string]*tally
	path   string // the last one asked for, since a run asks for one path only
	last   *tally // its counts
	broken int64
}

func newTallies() *tallies {
	return &tallies{paths: map[string]*tally{CountPath: {asks: true}}}
}

func (t *tallies) of(path []byte) *tally {
	if t.last != nil && t.path == string(path) {
		return t.last
	}
	c, ok := t.paths[string(path)]
	if !ok {
		name := string(path)
		if len(t.paths) >= maxPaths {
			name = otherPath
		}
		if c, ok = t.paths[name]; !ok {
			c = new(tally)
			t.paths[name] = c
		}
		if name == otherPath {
			return c
		}
	}
	t.path, t.last = string(path), c
	return c
}

// report renders the answer to a request for CountPath.
func (t *tallies) report(out []byte) []byte {
	c := Counts{Paths: map[string]Seen{}, Broken: t.broken}
	for path, y := range t.paths {
		if !y.asks {
			c.Paths[path] = y.seen
		}
	}
	body, err := json.Marshal(c)
	if err != nil { // numbers and strings only
		body = []byte(err.Error())
	}
	out = fmt.Appendf(out, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", len(body))
	return append(out, body...)
}
