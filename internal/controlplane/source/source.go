// SPDX-License-Identifier: Apache-2.0

// Package source turns files into resources: it reads YAML and JSON, tells resources apart, keeps the last good version
// of each, and says when the files changed. It does not know what a resource means; translate does.
package source

import (
	"io"
	"sync"
	"time"

	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
)

// Bounds on input. What is beyond them is a problem of the file, never a panic and never unbounded memory.
const (
	MaxFileBytes  = 64 << 20 // of one file
	MaxDepth      = 200      // nested mappings and sequences of one document
	MaxAliasNodes = 100_000  // nodes of one document that exist only because an alias or a merge key repeats them
)

// Options say how inputs are read.
type Options struct {
	Recursive bool      // also the subfolders of a folder
	Namespace string    // of a resource that names none; empty means "default"
	Stdin     io.Reader // what the input "-" reads
}

// Resource is one object, read but not interpreted. It is immutable.
type Resource struct {
	APIVersion  string
	Kind        string
	Namespace   string
	Name        string
	Created     time.Time // creationTimestamp; zero if there is none
	Labels      map[string]string
	Annotations map[string]string

	// Node is the resource's mapping: plain (no alias, no merge key, string keys that are each there once), with the
	// lines of the file.
	Node *Node

	File string // as the user gave it, joined with the path below it; "-" is standard input
	Line int    // of Node, 1-based
}

// Ref is the name problems use.
func (r *Resource) Ref() mesh.Ref {
	return mesh.Ref{Kind: r.Kind, Namespace: r.Namespace, Name: r.Name, File: r.File, Line: r.Line}
}

// JSON is Node as kubectl would send it. It is made at each call.
func (r *Resource) JSON() []byte { return appendJSON(nil, r.Node) }

// Key tells resources apart: two versions of one resource have the same Key.
func (r *Resource) Key() Key {
	return Key{Group: group(r.APIVersion), Kind: r.Kind, Namespace: r.Namespace, Name: r.Name}
}

// Key is the identity of a resource. Its API version is not part of it, its API group is.
type Key struct{ Group, Kind, Namespace, Name string }

// Set is what one reading of all inputs gave.
type Set struct {
	// Resources are in the order of the inputs, files by name within a folder, documents as written.
	Resources []*Resource
	// Broken names the files that could not be told apart into resources: a syntax error, a document without a name, or
	// nothing in it, as while a file is written anew.
	// Resources may hold the part of such a file that could be read: good for checking, not for serving.
	Broken map[string]bool
}

// Load reads the inputs once: each a folder, a file, or "-" for standard input. Problems are of single files and
// resources; the error is an input that cannot be read at all, or a folder without any file to read (a folder that lost
// its mount must not look like a wish to serve nothing).
func Load(inputs []string, opts Options) (Set, []mesh.Problem, error) {
	return New(inputs, opts).Load()
}

// Loader reads the same inputs again and again. What can be read only once (standard input, a pipe) is remembered. Its
// methods may be called at the same time. A document that is as it was, at the line where it was, is not read again: its
// resources are the same pointers as before.
type Loader struct {
	inputs []string
	opts   Options

	// Guarded by mu.
	mu     sync.Mutex
	once   map[string][]byte    // content of inputs that can be read only once
	digest digest               // of what the last Load read
	last   map[string]*fileRead // what it read, by path
	size   int                  // how many resources
}

// New is a Loader of the inputs; it reads nothing yet.
func New(inputs []string, opts Options) *Loader {
	if opts.Namespace == "" {
		opts.Namespace = "default"
	}
	return &Loader{inputs: inputs, opts: opts, once: map[string][]byte{}}
}

// Load reads everything again.
func (l *Loader) Load() (Set, []mesh.Problem, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	files, err := l.files()
	if err != nil {
		return Set{}, nil, err
	}
	data, err := l.contents(files)
	if err != nil {
		return Set{}, nil, err
	}
	sum, last := newDigester(), make(map[string]*fileRead, len(files))
	s := &scan{
		seen: make(map[Key]*Resource, l.size),
		set:  Set{Broken: map[string]bool{}, Resources: make([]*Resource, 0, l.size)},
	}
	for _, f := range fileReads(data, l.opts.Namespace, l.last) {
		sum.add(f.path, f.sum)
		last[f.path] = f
		s.file(f)
	}
	if len(s.set.Resources)+len(s.problems) == 0 {
		s.problems = append(s.problems, mesh.Problem{
			Severity: mesh.Warning, Resource: mesh.Ref{File: files[0].path, Line: 1},
			Message: "holds no resource, and no other file does", Fix: "write a document with apiVersion, kind and metadata",
		})
	}
	l.digest, l.last, l.size = sum.digest(), last, len(s.set.Resources)
	return s.set, s.problems, nil
}

func group(apiVersion string) string {
	for i := range len(apiVersion) {
		if apiVersion[i] == '/' {
			return apiVersion[:i]
		}
	}
	return ""
}
