// SPDX-License-Identifier: Apache-2.0

package translate

import (
	"go.yaml.in/yaml/v3"

	"github.com/umbra-mesh/umbra/internal/controlplane/source"
)

// The lists below say what happens to each field of each accepted kind. Every field that the schema has is on exactly
// one of them (a test holds that), so nothing is ignored in silence. A pattern is a path with "[]" for a list's
// elements and "{}" for a mapping's values; a pattern of a message stands for all that is in it.

// implemented fields do what Istio documents. Each entry names the golden that shows it
// (testdata/NAME.txtar here or in package compile).
var implemented = join(implementedHTTP, implementedService)

// verdict is what a field on a list other than implemented gives.
type verdict int

const (
	inert   verdict = iota // nothing: it has no effect on any request; says says why
	noted                  // a note: says says what differs
	warned                 // a warning: says says what happens instead
	refused                // an error: says is what it decides
)

type rule struct {
	verdict verdict
	says    string
	// same tells that a value asks for exactly what is done anyway; nil: no value does.
	same func(*source.Node) bool
}

// metadataRules hold for each kind: what is there for the API server. Names, labels and creationTimestamp are read by
// package source.
var metadataRules = map[string]rule{
	"apiVersion": {verdict: inert, says: "read by package source"},
	"kind":       {verdict: inert, says: "read by package source"},
	"metadata":   {verdict: inert, says: "read by package source, or bookkeeping of the API server"},
	"status":     {verdict: inert, says: "written by controllers, not by users"},
}

// rules list the fields that are known and not implemented.
var rules = join(rulesHTTP, rulesService)

func join[V any](maps ...map[string]V) map[string]V {
	all := map[string]V{}
	for _, m := range maps {
		for key, v := range m {
			all[key] = v
		}
	}
	return all
}

// only accepts a scalar that is one of values, or a list with nothing else in it.
func only(values ...string) func(*source.Node) bool {
	return func(n *source.Node) bool {
		list := n.Content
		if n.Kind == yaml.ScalarNode {
			list = []*source.Node{n}
		}
		for _, c := range list {
			ok := false
			for _, v := range values {
				ok = ok || c.Kind == yaml.ScalarNode && c.Value == v
			}
			if !ok {
				return false
			}
		}
		return true
	}
}

// disabled accepts client TLS settings that switch TLS off.
func disabled(n *source.Node) bool { return onlyKey(n, "mode", only("DISABLE")) }

func onlyKey(n *source.Node, key string, ok func(*source.Node) bool) bool {
	return n.Kind == yaml.MappingNode && len(n.Content) == 2 && n.Content[0].Value == key && ok(n.Content[1])
}
