// SPDX-License-Identifier: Apache-2.0

package translate

import (
	"fmt"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
)

// headers reads the operations on the fields of a rule or of a destination.
func (p *report) headers(path string, h *networking.Headers) mesh.Headers {
	if h == nil {
		return mesh.Headers{}
	}
	path += ".headers"
	return mesh.Headers{
		Request:  p.operations(path+".request", h.GetRequest(), true),
		Response: p.operations(path+".response", h.GetResponse(), false),
	}
}

func (p *report) operations(path string, h *networking.Headers_HeaderOperations, request bool) mesh.HeaderOps {
	for i, name := range h.GetRemove() {
		p.fieldName(index(path+".remove", i), name, false)
	}
	return mesh.HeaderOps{
		Set:    p.values(path+".set", h.GetSet(), request),
		Add:    p.values(path+".add", h.GetAdd(), request),
		Remove: slices.Clone(h.GetRemove()),
	}
}

// values are fields to write, by name. authority tells whether the authority is one of them.
func (p *report) values(path string, values map[string]string, authority bool) []mesh.HeaderValue {
	var out []mesh.HeaderValue
	for _, name := range sortedKeys(values) {
		at, value := path+"["+name+"]", values[name]
		p.fieldName(at, name, authority)
		p.fieldValue(at, value)
		out = append(out, mesh.HeaderValue{Name: name, Value: value})
	}
	return out
}

// fieldValue checks a format string: its form first, with Istio's words, then what the data plane has against it.
func (p *report) fieldValue(path, value string) {
	wrong, fix := checkFormat(value)
	switch {
	case !printable(value):
		p.error(path, "write a line of text", "header value configuration %s is invalid", value)
	case wrong != "":
		p.error(path, fix, "header value configuration: invalid header configuration. %s", wrong)
	case p.value != nil:
		if err := p.value(value); err != nil {
			p.error(path, "use what there is, or write %% for a percent sign", "header value: %v", err)
		}
	}
}

// fieldName checks the name of a field to change.
func (p *report) fieldName(path, name string, authority bool) {
	const fix = "write the name of a header"
	switch {
	case name == "":
		p.error(path, fix, "header name cannot be empty")
	case authority && isAuthority(name):
	case strings.EqualFold(name, "host"):
		p.error(path, "use rewrite.authority", "invalid header %q: cannot set Host header", name)
	case strings.HasPrefix(name, ":"):
		p.error(path, fix, `invalid header %q: header cannot have ":" prefix`, name)
	case !validHeaderName(name):
		p.error(path, fix, "header name %s is not a valid header name", name)
	}
}

// isAuthority tells whether a field is the request's authority.
func isAuthority(name string) bool {
	return strings.EqualFold(name, "host") || strings.EqualFold(name, ":authority")
}

// printable tells whether a value may stand in a head (RFC 9110 §5.5).
func printable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f })
}

// oneAuthority refuses a rule that changes the authority in two places.
func (p *report) oneAuthority(path string, h *networking.HTTPRoute) {
	if h.GetHeaders().GetRequest() == nil {
		return
	}
	now := h.GetRewrite().GetAuthority()
	set := func(path string, values map[string]string) {
		for _, name := range sortedKeys(values) {
			if !isAuthority(name) {
				continue
			}
			if now != "" {
				p.error(path+"["+name+"]", "keep one of them",
					"authority header cannot be set multiple times: have %q, attempting to set %q", now, values[name])
			}
			now = values[name]
		}
	}
	set(path+".headers.request.set", h.GetHeaders().GetRequest().GetSet())
	set(path+".headers.request.add", h.GetHeaders().GetRequest().GetAdd())
}

// checkFormat tells what is wrong with the form of a format string, and what to do: text with %% for a percent sign,
// %NAME% and %NAME(arguments)%. Which names there are is known to the data plane.
func checkFormat(s string) (wrong, fix string) {
	const escape = "write %% for a percent sign"
	for {
		start := strings.IndexByte(s, '%')
		if start < 0 {
			return "", ""
		}
		whole := s[start:]
		s = whole[1:]
		if s == "" {
			return "Un-escaped %", escape
		}
		if s[0] == '%' {
			s = s[1:]
			continue
		}
		end := strings.IndexAny(s, "%(")
		if end >= 0 && s[end] == '(' {
			var after int
			end, after = arguments(s, end+1)
			if after >= 0 {
				return fmt.Sprintf("Expecting '%%' or whitespace after '%s'", whole[:1+after]),
					"end it with )%: a header takes no length behind it"
			}
		}
		if end < 0 {
			return fmt.Sprintf("Un-terminated variable expression '%s'", whole), "end it with %, or " + escape
		}
		s = s[end+1:]
	}
}

// arguments finds the percent sign that ends a variable whose arguments begin at i; -1 if there is none. If something
// else comes before it, after is where that begins, else -1.
func arguments(s string, i int) (end, after int) {
	for ; i < len(s) && s[i] != ')'; i++ {
		if s[i] == '\\' {
			i++
		}
	}
	for i++; i < len(s) && s[i] != '%'; i++ {
		if s[i] != ' ' {
			return -1, i
		}
	}
	if i >= len(s) {
		return -1, -1
	}
	return i, -1
}
