// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"slices"

	"github.com/umbra-mesh/umbra/internal/controlplane/compile"
	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
	"github.com/umbra-mesh/umbra/internal/controlplane/source"
	"github.com/umbra-mesh/umbra/internal/controlplane/translate"
)

// result is what became of a resource.
type result int

const (
	compiled result = iota
	unused          // a kind that says nothing about requests, or one that is not looked at: said by a note or a warning
	refused
	unreadable // a file that is no YAML, as one with a template in it
	panicked
)

func (r result) String() string {
	return [...]string{"compiled", "unused", "refused", "unreadable", "panicked"}[r]
}

// outcome is what became of one resource, or of a file that could not be read.
type outcome struct {
	resource mesh.Ref
	kind     string // group/kind
	result   result
	reason   string // of a refusal
}

// file takes each resource of a file through the control plane, alone: what it refers to is missing, which is no reason
// to refuse it.
func file(path string) []outcome {
	data, err := os.ReadFile(path)
	var set source.Set
	var problems []mesh.Problem
	if err == nil {
		set, problems, err = source.Load([]string{"-"}, source.Options{Namespace: "default", Stdin: bytes.NewReader(plain(data))})
	}
	if err != nil {
		return []outcome{{resource: mesh.Ref{File: path}, result: unreadable, reason: err.Error()}}
	}
	var list []outcome
	for _, p := range problems {
		if p.Severity == mesh.Error {
			list = append(list, outcome{resource: mesh.Ref{File: path, Line: p.Line}, result: unreadable, reason: p.Message})
		}
	}
	for _, r := range set.Resources {
		o := one(r)
		o.resource.File = path
		list = append(list, o)
	}
	return list
}

// plain takes out what a document of Istio's own tests says about itself: the error that it expects.
func plain(data []byte) []byte {
	lines := bytes.Split(data, []byte("\n"))
	for i, l := range lines {
		if bytes.HasPrefix(l, []byte("_err:")) {
			lines[i] = []byte("#")
		}
	}
	return bytes.Join(lines, []byte("\n"))
}

func one(r *source.Resource) (o outcome) {
	group := r.Key().Group
	if group == "" {
		group = "v1"
	}
	o = outcome{resource: r.Ref(), kind: group + " " + r.Kind}
	defer func() {
		if p := recover(); p != nil {
			o.result, o.reason = panicked, fmt.Sprint(p)
		}
	}()
	config, endpoints, problems := translate.Translate([]*source.Resource{r}, translate.Options{Namespace: "default"})
	resources, more := compile.Compile(config, endpoints, compile.Options{
		Namespace: "default", Outbound: netip.MustParseAddrPort("127.0.0.1:15001"),
	})
	problems = append(problems, more...)
	if i := slices.IndexFunc(problems, func(p mesh.Problem) bool { return p.Severity == mesh.Error }); i >= 0 {
		o.result, o.reason = refused, reason(problems[i])
		return o
	}
	if err := resources.Validate(); err != nil {
		o.result, o.reason = panicked, "compiled to what is not valid: "+err.Error()
		return o
	}
	if slices.ContainsFunc(problems, func(p mesh.Problem) bool { return p.Field == "kind" }) {
		o.result = unused
	}
	return o
}

func reason(p mesh.Problem) string {
	if p.Field == "" {
		return p.Message
	}
	return p.Field + ": " + p.Message
}
