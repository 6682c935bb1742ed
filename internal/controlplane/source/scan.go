// SPDX-License-Identifier: Apache-2.0

package source

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
)

// scan puts what the parts of all files say together into a Set.
type scan struct {
	seen     map[Key]*Resource
	set      Set
	problems []mesh.Problem
}

// fail says that the part cannot be told apart into resources.
func (s *read) fail(path string, line int, field, message, fix string) {
	s.broken = true
	s.problems = append(s.problems, mesh.Problem{
		Severity: mesh.Error, Resource: mesh.Ref{File: path, Line: max(line, 1)}, Line: max(line, 1),
		Field: field, Message: message, Fix: fix,
	})
}

// localGroup has the kinds that tools read from files: they need no name.
const localGroup = "kustomize.config.k8s.io"

func (s *scan) file(f *fileRead) {
	path := f.path
	if len(f.parts) == 0 {
		s.set.Broken[path] = true
		p := mesh.Problem{
			Severity: mesh.Warning, Resource: mesh.Ref{File: path, Line: 1},
			Message: "is empty: nothing is read from it, and a reload serves what it had", Fix: "delete the file if that is to go",
		}
		if path == Stdin {
			p.Message, p.Fix = "standard input is empty", "pipe resources into it, as from kubectl get -o yaml"
		}
		s.problems = append(s.problems, p)
		return
	}
	for _, d := range f.parts {
		s.add(path, d.read)
		if d.read.ended {
			return
		}
	}
}

// told are the kinds of which each resource is to say something, by API group. Of others, two of a name harm nobody: a
// folder may have a Deployment for each of two clusters.
var told = map[string][]string{
	"":                    {"Service", "Pod"},
	"discovery.k8s.io":    {"EndpointSlice"},
	"networking.istio.io": {"Gateway", "VirtualService", "DestinationRule", "ServiceEntry", "WorkloadEntry", "Sidecar"},
}

// add takes what a part says. Of two resources with one name the first counts.
func (s *scan) add(path string, r *read) {
	if r.broken {
		s.set.Broken[path] = true
	}
	s.problems = append(s.problems, r.problems...)
	for _, one := range r.resources {
		key := one.Key()
		if first, ok := s.seen[key]; ok {
			if !slices.Contains(told[key.Group], key.Kind) {
				continue
			}
			s.problems = append(s.problems, problemOf(one, one.Line, "metadata.name",
				fmt.Sprintf("there are two: the first is at %s:%d", first.File, first.Line), "remove one; the first is used"))
			continue
		}
		s.seen[key] = one
		s.set.Resources = append(s.set.Resources, one)
	}
}

// syntax says why the part cannot be read. The error's line counts from offset.
func (s *read) syntax(path string, p part, err error, offset int) {
	line, as, fix := 0, "YAML", syntaxFix(err.Error())
	if e, ok := errors.AsType[*syntaxError](err); ok && e.line > 0 {
		line = e.line + offset
		if tabbed(p.text, line-p.line) {
			fix = "indent with spaces, not with tabs"
		}
		if e.json {
			as, fix = "JSON", "correct the syntax"
		}
	}
	if bytes.Contains(p.text, []byte("{{")) {
		fix = "it looks like a template, which has to be filled in first"
	}
	fix += "; the file's resources are not read"
	s.ended = true
	s.fail(path, line, "", "cannot be read as "+as+": "+err.Error(), fix)
}

// syntaxFix is what to do about what the YAML parser says, whose words tell little to who does not know parsers.
func syntaxFix(message string) string {
	for _, known := range []struct{ says, fix string }{
		{"did not find expected key", "indent the keys of one mapping alike, or put a text with a colon or a quote in it in quotes"},
		{"did not find expected '-' indicator", "begin each item of the list with -, all indented alike"},
		{"mapping values are not allowed", "indent the line as its neighbours are, or put a text with a colon in it in quotes"},
		{"unexpected end of stream", "close the quote that begins here"},
		{"did not find expected ',' or", "close the bracket that begins here or above, and put commas between its items"},
		{"UTF-8", "write the file as UTF-8 text"},
		{"control characters", "write the file as UTF-8 text"},
		{"unknown anchor", "define the anchor before it, or put a text that begins with * in quotes"},
	} {
		if strings.Contains(message, known.says) {
			return known.fix
		}
	}
	return "correct the syntax"
}

// tabbed tells whether there is a tab in the indentation of a line.
func tabbed(text []byte, line int) bool {
	for range line - 1 {
		_, text, _ = bytes.Cut(text, []byte{'\n'})
	}
	indented := text[:len(text)-len(bytes.TrimLeft(text, " \t"))]
	return bytes.IndexByte(indented, '\t') >= 0
}

// listOf is the list a document came in: typed lists leave out the kind of their items.
type listOf struct{ apiVersion, kind string }

func (s *read) document(path string, n *Node, bad []treeProblem, in listOf, depth int) {
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		return
	}
	if n.Kind != yaml.MappingNode {
		s.fail(path, n.Line, "", "not a resource", "write a mapping with apiVersion, kind and metadata")
		return
	}
	apiVersion, kind := text(child(n, "apiVersion")), text(child(n, "kind"))
	if in.kind != "" && kind == "" {
		apiVersion, kind = in.apiVersion, in.kind
	}
	if items := child(n, "items"); kind == "List" || strings.HasSuffix(kind, "List") && items != nil {
		s.list(path, n, items, bad, listOf{apiVersion, strings.TrimSuffix(kind, "List")}, depth)
		return
	}
	meta := child(n, "metadata")
	r := &Resource{
		APIVersion: apiVersion, Kind: kind, Node: n, File: path, Line: n.Line,
		Name: text(child(meta, "name")), Namespace: text(child(meta, "namespace")),
	}
	if r.Name == "" && group(apiVersion) == localGroup {
		r.Name = path
	}
	for _, need := range []struct{ field, value string }{
		{"apiVersion", apiVersion}, {"kind", kind}, {"metadata.name", r.Name},
	} {
		if need.value == "" {
			s.fail(path, n.Line, need.field, "is missing"+whose(kind, r.Name),
				"every resource needs apiVersion, kind and metadata.name")
			return
		}
	}
	if r.Namespace == "" {
		r.Namespace = s.namespace
	}
	s.metadata(r, meta)
	for i := range bad {
		if b := &bad[i]; !b.said && b.within(n) {
			b.said = true
			s.problem(r, b.line, b.field(n), b.message, b.fix)
		}
	}
	s.resources = append(s.resources, r)
}

// whose tells which resource it is as far as that is known of one that cannot be told apart.
func whose(kind, name string) string {
	switch {
	case kind != "" && name != "":
		return fmt.Sprintf(" in %s %s", kind, name)
	case kind != "":
		return " in a " + kind
	case name != "":
		return fmt.Sprintf(" in the resource named %q", name)
	default:
		return ""
	}
}

func (s *read) list(path string, n, items *Node, bad []treeProblem, in listOf, depth int) {
	switch {
	case items == nil || items.Kind == yaml.ScalarNode && items.Tag == "!!null":
		return
	case items.Kind != yaml.SequenceNode:
		s.fail(path, n.Line, "items", "is not a list", "write the items as a list")
		return
	case depth > 3:
		s.fail(path, n.Line, "items", "lists are nested deeper than 3 levels", "write the items one level up")
		return
	}
	for _, item := range items.Content {
		s.document(path, item, bad, in, depth+1)
	}
}

func (s *read) problem(r *Resource, line int, field, message, fix string) {
	s.problems = append(s.problems, problemOf(r, line, field, message, fix))
}

func problemOf(r *Resource, line int, field, message, fix string) mesh.Problem {
	return mesh.Problem{Severity: mesh.Error, Resource: r.Ref(), Line: line, Field: field, Message: message, Fix: fix}
}

// metadata reads what every kind has.
func (s *read) metadata(r *Resource, meta *Node) {
	r.Labels = s.stringMap(r, child(meta, "labels"), "metadata.labels")
	r.Annotations = s.stringMap(r, child(meta, "annotations"), "metadata.annotations")
	created := child(meta, "creationTimestamp")
	if v := text(created); v != "" {
		var err error
		if r.Created, err = time.Parse(time.RFC3339, v); err != nil {
			s.problem(r, created.Line, "metadata.creationTimestamp", fmt.Sprintf("%q is no RFC 3339 time", v),
				"write it as 2006-01-02T15:04:05Z, or leave it out")
		}
	}
}

func (s *read) stringMap(r *Resource, n *Node, field string) map[string]string {
	if n == nil || n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		return nil
	}
	if n.Kind != yaml.MappingNode {
		s.problem(r, n.Line, field, "is not a mapping", "write key: value pairs")
		return nil
	}
	m := make(map[string]string, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		if v.Kind != yaml.ScalarNode || v.Tag != "!!str" && v.Tag != "!!null" {
			s.problem(r, v.Line, fmt.Sprintf("%s[%s]", field, k.Value), "is not a string", "put the value in quotes")
			continue
		}
		m[k.Value] = text(v)
	}
	return m
}

// child is the value of a key of a mapping, or nil.
func child(n *Node, key string) *Node {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

// text is the value of a scalar that is not null, else "".
func text(n *Node) string {
	if n == nil || n.Kind != yaml.ScalarNode || n.Tag == "!!null" {
		return ""
	}
	return n.Value
}
