// SPDX-License-Identifier: Apache-2.0

package source

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v3"
)

// parseJSON reads a stream of JSON values into the same trees as YAML, with lines.
func parseJSON(data []byte) ([]*yaml.Node, error) {
	r := &jsonReader{data: data, d: json.NewDecoder(bytes.NewReader(data)), line: 1}
	r.d.UseNumber()
	var docs []*yaml.Node
	for {
		n, err := r.value(0)
		if errors.Is(err, io.EOF) {
			return docs, nil
		}
		if err != nil {
			return nil, r.syntax(err)
		}
		docs = append(docs, n)
	}
}

// syntax is an error of the reader, and the line it is in.
func (r *jsonReader) syntax(err error) error {
	off := r.d.InputOffset()
	if e, ok := errors.AsType[*json.SyntaxError](err); ok {
		off = e.Offset
	}
	before := r.data[:min(int(off), len(r.data))]
	return &syntaxError{line: 1 + bytes.Count(before, []byte{'\n'}), message: err.Error(), json: true}
}

type jsonReader struct {
	data []byte
	d    *json.Decoder
	at   int64 // offset that line belongs to
	line int
}

// token is the next token and the line it ends in; only strings can span no line, so it begins there too.
func (r *jsonReader) token() (json.Token, error) {
	t, err := r.d.Token()
	if err != nil {
		return nil, err
	}
	off := r.d.InputOffset()
	r.line += bytes.Count(r.data[r.at:off], []byte("\n"))
	r.at = off
	return t, nil
}

func (r *jsonReader) value(depth int) (*yaml.Node, error) {
	if depth > MaxDepth {
		return nil, errDepth
	}
	t, err := r.token()
	if err != nil {
		return nil, err
	}
	n := &yaml.Node{Line: r.line}
	switch t := t.(type) {
	case json.Delim:
		if t == '{' {
			n.Kind, n.Tag = yaml.MappingNode, "!!map"
		} else {
			n.Kind, n.Tag = yaml.SequenceNode, "!!seq"
		}
		for r.d.More() {
			if n.Kind == yaml.MappingNode {
				k, err := r.token()
				if err != nil {
					return nil, unfinished(err)
				}
				name, ok := k.(string)
				if !ok {
					return nil, errors.New("a key must be a string")
				}
				n.Content = append(n.Content, r.scalar("!!str", name))
			}
			v, err := r.value(depth + 1)
			if err != nil {
				return nil, unfinished(err)
			}
			n.Content = append(n.Content, v)
		}
		_, err := r.token()
		return n, unfinished(err)
	case string:
		return r.scalar("!!str", t), nil
	case json.Number:
		if strings.ContainsAny(t.String(), ".eE") {
			return r.scalar("!!float", t.String()), nil
		}
		return r.scalar("!!int", t.String()), nil
	case bool:
		return r.scalar("!!bool", fmt.Sprint(t)), nil
	default:
		return r.scalar("!!null", "null"), nil
	}
}

func unfinished(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func (r *jsonReader) scalar(tag, value string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: tag, Value: value, Line: r.line, Style: yaml.DoubleQuotedStyle}
}

// appendJSON writes a plain tree as JSON.
func appendJSON(b []byte, n *Node) []byte {
	switch n.Kind {
	case yaml.MappingNode:
		b = append(b, '{')
		for i := 0; i+1 < len(n.Content); i += 2 {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(appendString(b, n.Content[i].Value), ':')
			b = appendJSON(b, n.Content[i+1])
		}
		return append(b, '}')
	case yaml.SequenceNode:
		b = append(b, '[')
		for i, c := range n.Content {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendJSON(b, c)
		}
		return append(b, ']')
	default:
		if n.Tag == "!!str" {
			return appendString(b, n.Value)
		}
		return append(b, n.Value...)
	}
}

func appendString(b []byte, s string) []byte {
	if plainText(s) {
		b = append(b, '"')
		b = append(b, s...)
		return append(b, '"')
	}
	text, err := json.Marshal(s)
	if err != nil { // a Go string always has a JSON form
		return append(b, `""`...)
	}
	return append(b, text...)
}

// plainText tells whether a string stands for itself in JSON.
func plainText(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case c < ' ', c > '~', c == '"', c == '\\', c == '<', c == '>', c == '&':
			return false
		}
	}
	return true
}
