// SPDX-License-Identifier: Apache-2.0

package translate

import "slices"

// exports says in which namespaces a resource counts.
type exports struct {
	all        bool
	given      bool     // and not only by default
	namespaces []string // "." already resolved
	written    []string // the list as it is written, sorted
}

// exportTo reads a list of namespaces, "." for the resource's own and "*" for all. None means all. none tells whether
// "~", nobody, may stand in it: only services have that.
func (p *report) exportTo(path string, list []string, none bool) exports {
	e := exports{all: len(list) == 0, given: len(list) > 0, written: slices.Sorted(slices.Values(list))}
	seen := map[string]bool{}
	for i, s := range list {
		at, name := index(path, i), s
		if s == "." {
			name = p.resource.Namespace
		}
		switch {
		case seen[name] && name != s:
			p.error(at, "keep one of them", "duplicate entries in exportTo: . and current namespace %s", name)
		case seen[name]:
			p.error(at, "keep one of them", "duplicate entries in exportTo for entry %s", s)
		case name == "~" && !none:
			p.error(at, "write a namespace", "exportTo ~ (none) is not allowed for Istio configuration objects")
		case name == "~":
		case name == "*":
			e.all = true
		case !validAnyLabel(name):
			p.error(at, `write ".", "*" or a namespace`,
				"only .,*, or a valid DNS 1123 label is allowed as exportTo entry")
		default:
			e.namespaces = append(e.namespaces, name)
		}
		seen[name] = true
	}
	if e.all && len(list) > 1 {
		p.error(path, `keep "*" alone`, "cannot have both public (*) and non-public exportTo values for a resource")
	}
	if seen["~"] && none && len(list) > 1 {
		p.error(path, `keep "~" alone`, "cannot export service entry to no one (~) and someone")
	}
	return e
}

// to tells whether the resource counts in a namespace.
func (e exports) to(namespace string) bool { return e.all || slices.Contains(e.namespaces, namespace) }
