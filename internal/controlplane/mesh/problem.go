// SPDX-License-Identifier: Apache-2.0

package mesh

import "fmt"

// Ref names a resource and where it stands.
type Ref struct {
	Kind      string
	Namespace string
	Name      string
	File      string // as the user gave it; "-" is standard input
	Line      int    // of the document's first line, 1-based
}

// String is "Kind namespace/name".
func (r Ref) String() string {
	if r.Kind == "" {
		return r.File
	}
	return fmt.Sprintf("%s %s/%s", r.Kind, r.Namespace, r.Name)
}

// Severity orders problems.
type Severity int

// Warnings do not stop anything. Errors refuse the resource (its last good version stays). Unresolved is an error for
// `check` but not for `run`: what it names may come later, and until then it is served as Envoy would; or it is a part
// without which the rest serves as it would with it (a TLS server beside a plain one). A Note is a remark on input that
// is right; it never changes an exit code.
const (
	Note    Severity = -1
	Warning Severity = iota - 1
	Unresolved
	Error
)

func (s Severity) String() string {
	switch s {
	case Note:
		return "note"
	case Warning:
		return "warning"
	default:
		return "error"
	}
}

// Problem is one thing wrong with the input, as a value: check prints it, status and logs carry it.
type Problem struct {
	Severity Severity
	Resource Ref
	Line     int    // of the field; Resource.Line if the field has none
	Field    string // spec.http[0].mirror.host
	Message  string // what is wrong
	Fix      string // what to do
}

// String is the line that check prints: file:line: severity: resource: field: message; fix.
func (p Problem) String() string {
	line := p.Line
	if line == 0 {
		line = p.Resource.Line
	}
	s := fmt.Sprintf("%s:%d: %s: ", p.Resource.File, line, p.Severity)
	if line == 0 { // not of a file: a flag
		s = fmt.Sprintf("%s: %s: ", p.Resource.File, p.Severity)
	}
	if p.Resource.Kind != "" {
		s += p.Resource.String() + ": "
	}
	if p.Field != "" {
		s += p.Field + ": "
	}
	s += p.Message
	if p.Fix != "" {
		s += "; " + p.Fix
	}
	return s
}
