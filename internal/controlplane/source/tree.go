// SPDX-License-Identifier: Apache-2.0

package source

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// syntaxError is a document that cannot be read. Line is 0 if the parser did not say.
type syntaxError struct {
	line    int
	message string
	json    bool // it was read as JSON
}

func (e *syntaxError) Error() string { return e.message }

var yamlLine = regexp.MustCompile(`^yaml: (?:line ([0-9]+): )?(.*)$`)

// parse is the documents of a file, and the error that ended it early. JSON is tried first where the file may be JSON:
// its escapes for characters outside the basic plane are no YAML.
func parse(data []byte) ([]*yaml.Node, error) {
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	var notJSON error
	if start := bytes.TrimLeft(data, " \t\r\n"); len(start) > 0 && start[0] == '{' {
		var docs []*yaml.Node
		if docs, notJSON = parseJSON(data); notJSON == nil {
			return docs, nil
		}
		if !quoted(start[1:]) {
			notJSON = nil
		}
	}
	var docs []*yaml.Node
	for d := yaml.NewDecoder(bytes.NewReader(data)); ; {
		var n yaml.Node
		err := d.Decode(&n)
		if errors.Is(err, io.EOF) {
			return docs, nil
		}
		if err != nil && notJSON != nil {
			return docs, notJSON
		}
		if err != nil {
			return docs, yamlError(err, data)
		}
		if n.Kind == yaml.DocumentNode && len(n.Content) == 1 {
			docs = append(docs, n.Content[0])
		}
	}
}

// quoted tells whether a mapping begins with a key in double quotes, as in JSON: who wrote it meant no YAML.
func quoted(rest []byte) bool {
	rest = bytes.TrimLeft(rest, " \t\r\n")
	return len(rest) > 0 && rest[0] == '"'
}

var unknownAnchor = regexp.MustCompile(`^unknown anchor '(.+)' referenced$`)

func yamlError(err error, data []byte) error {
	e := &syntaxError{message: err.Error()}
	if m := yamlLine.FindStringSubmatch(e.message); m != nil {
		e.line, _ = strconv.Atoi(m[1])
		e.message = m[2]
		if a := unknownAnchor.FindStringSubmatch(e.message); a != nil {
			at := bytes.Index(data, []byte("*"+a[1]))
			e.line = 1 + bytes.Count(data[:max(at, 0)], []byte("\n"))
		}
		if e.line > 0 && strings.HasPrefix(e.message, "did not find expected") {
			e.line = failing(data, err, e.line)
		}
	}
	return e
}

// maxSought is the longest text, in bytes, of which the line that cannot be read is sought: it is read some twenty times.
const maxSought = 1 << 20

// failing is the line at which reading fails with err: the parser says where the mapping or list began that does not go
// on as it must, which may be far above.
func failing(data []byte, err error, said int) int {
	data = bytes.TrimRight(data, " \t\r\n")
	if len(data) > maxSought {
		return said
	}
	lines := bytes.SplitAfter(data, []byte{'\n'})
	end := make([]int, len(lines))
	at := 0
	for i, l := range lines {
		at += len(l)
		end[i] = at
	}
	return 1 + sort.Search(len(lines)-1, func(i int) bool {
		var n yaml.Node
		d := yaml.NewDecoder(bytes.NewReader(data[:end[i]]))
		failed := d.Decode(&n)
		for failed == nil {
			failed = d.Decode(&n)
		}
		return failed.Error() == err.Error()
	})
}

// plainer makes a document plain: aliases and merge keys are written out, and everything is within the bounds.
type plainer struct {
	nodes
	aliased  int  // nodes made under an alias so far
	again    bool // a key of the document itself is there twice
	problems []treeProblem
}

// treeProblem is something wrong with a tree that can still be walked.
type treeProblem struct {
	in      *Node // the plain node it is about
	said    bool  // a resource was found that it is in
	line    int
	message string
	fix     string
}

var (
	errDepth = fmt.Errorf("nested deeper than %d levels", MaxDepth)
	errAlias = fmt.Errorf("aliases expand to more than %d nodes", MaxAliasNodes)
)

// within tells whether the problem is about n or something in it.
func (b *treeProblem) within(n *Node) bool {
	return n == b.in || slices.ContainsFunc(n.Content, b.within)
}

// field is the path of the mapping or text that the problem is about, below n that it is within; "" for n itself.
func (b *treeProblem) field(n *Node) string {
	if n == b.in {
		return ""
	}
	for i, c := range n.Content {
		if !b.within(c) {
			continue
		}
		below := b.field(c)
		if below != "" && below[0] != '[' {
			below = "." + below
		}
		if n.Kind == yaml.SequenceNode {
			return "[" + strconv.Itoa(i) + "]" + below
		}
		return n.Content[i-1].Value + below
	}
	return ""
}

// maxTreeProblems is of one document: more of them say nothing new.
const maxTreeProblems = 100

// problem is said once, where the node stands, and not again for each alias of it.
func (p *plainer) problem(aliased bool, in *Node, line int, message, fix string) {
	if !aliased && len(p.problems) < maxTreeProblems {
		p.problems = append(p.problems, treeProblem{in: in, line: line, message: message, fix: fix})
	}
}

func (p *plainer) plain(n *yaml.Node, depth int, aliased bool) (*Node, error) {
	if depth > MaxDepth {
		return nil, &syntaxError{line: n.Line, message: errDepth.Error()}
	}
	if aliased {
		if p.aliased++; p.aliased > MaxAliasNodes {
			return nil, &syntaxError{line: n.Line, message: errAlias.Error()}
		}
	}
	switch n.Kind {
	case yaml.AliasNode:
		return p.plain(n.Alias, depth+1, true)
	case yaml.SequenceNode:
		out := p.node(Node{Kind: n.Kind, Tag: "!!seq", Line: n.Line, Content: make([]*Node, 0, len(n.Content))})
		for _, c := range n.Content {
			c, err := p.plain(c, depth+1, aliased)
			if err != nil {
				return nil, err
			}
			out.Content = append(out.Content, c)
		}
		return out, nil
	case yaml.MappingNode:
		out := p.node(Node{Kind: n.Kind, Tag: "!!map", Line: n.Line, Content: make([]*Node, 0, len(n.Content))})
		return out, p.mapping(out, n, depth, aliased)
	default:
		return p.scalar(n, aliased)
	}
}

func (p *plainer) mapping(out *Node, n *yaml.Node, depth int, aliased bool) error {
	at := make(map[string]int, len(n.Content)/2)
	var merges []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		if k.ShortTag() == "!!merge" {
			merges = append(merges, v)
			continue
		}
		key := k
		if k.Kind == yaml.AliasNode {
			key = k.Alias
		}
		if key.Kind != yaml.ScalarNode {
			p.problem(aliased, out, k.Line, "a key must be a string",
				"write a plain key; {{ }} is for a template, which has to be filled in first")
			continue
		}
		if _, ok := at[key.Value]; ok {
			p.twice(aliased, out, k.Line, key.Value, depth)
			continue
		}
		value, err := p.plain(v, depth+1, aliased)
		if err != nil {
			return err
		}
		at[key.Value] = len(out.Content)
		name := p.node(Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: key.Value, Line: k.Line})
		out.Content = append(out.Content, name, value)
	}
	for _, m := range merges {
		if err := p.merge(out, at, m, depth, aliased); err != nil {
			return err
		}
	}
	return nil
}

// twice says that a key is there again. A whole document of which that is true is mostly two without --- between them: it
// is said once then.
func (p *plainer) twice(aliased bool, in *Node, line int, key string, depth int) {
	fix := "keep one of them"
	if depth == 0 {
		fix = "keep one of them, or write --- before it if another resource begins here"
		if p.again {
			return
		}
		p.again = true
	}
	p.problem(aliased, in, line, fmt.Sprintf("key %q is there twice", key), fix)
}

// merge adds the keys of a "<<" value that are not there yet.
func (p *plainer) merge(out *Node, at map[string]int, v *yaml.Node, depth int, aliased bool) error {
	from, err := p.plain(v, depth+1, aliased)
	if err != nil {
		return err
	}
	list := []*Node{from}
	if from.Kind == yaml.SequenceNode {
		list = from.Content
	}
	for _, m := range list {
		if m.Kind != yaml.MappingNode {
			p.problem(aliased, out, v.Line, "<< must name a mapping", "alias a mapping")
			continue
		}
		for i := 0; i+1 < len(m.Content); i += 2 {
			if k := m.Content[i]; !has(at, k.Value) {
				at[k.Value] = len(out.Content)
				out.Content = append(out.Content, k, m.Content[i+1])
			}
		}
	}
	return nil
}

func has(m map[string]int, k string) bool {
	_, ok := m[k]
	return ok
}

// scalar resolves a scalar's type once: !!str, !!int, !!float, !!bool or !!null, with a value that is JSON's.
func (p *plainer) scalar(n *yaml.Node, aliased bool) (*Node, error) {
	out := p.node(Node{Kind: yaml.ScalarNode, Tag: n.ShortTag(), Value: n.Value, Line: n.Line})
	plainStyle := n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) == 0
	switch out.Tag {
	case "!!null":
		out.Value = "null"
	case "!!bool", "!!int", "!!float":
		var v any
		if err := n.Decode(&v); err != nil {
			return nil, yamlError(err, nil)
		}
		text, err := json.Marshal(v)
		if err != nil { // .inf and .nan are no JSON
			out.Tag = "!!str"
			break
		}
		out.Value = string(text)
	case "!!str":
		// Kubernetes reads YAML 1.1, where these are booleans, and so a type error for a string field. The same here:
		// better than to serve something else than a cluster would.
		if v, ok := yaml11Bools[n.Value]; ok && plainStyle && n.Style&yaml.TaggedStyle == 0 {
			out.Tag, out.Value = "!!bool", strconv.FormatBool(v)
		}
	case "!!timestamp", "!!binary", "!!merge":
		out.Tag = "!!str"
	default:
		p.problem(aliased, out, n.Line, fmt.Sprintf("tag %s is not known", n.Tag), "remove it")
		out.Tag = "!!str"
	}
	return out, nil
}

var yaml11Bools = map[string]bool{
	"yes": true, "Yes": true, "YES": true, "on": true, "On": true, "ON": true,
	"no": false, "No": false, "NO": false, "off": false, "Off": false, "OFF": false,
}
