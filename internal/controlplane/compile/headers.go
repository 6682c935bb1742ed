// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
)

// headerOps are the operations of a rule or a destination in Envoy's words. Host is not a field there: what is set for it
// rewrites the authority.
type headerOps struct {
	requestAdd, responseAdd       []*corev3.HeaderValueOption
	requestRemove, responseRemove []string
	authority                     string // "": not rewritten
}

// headerOperations puts what is set before what is added, each in the order given, which is by name.
func headerOperations(h mesh.Headers) headerOps {
	authority := lastHost(h.Request.Set)
	if authority == "" {
		authority = lastHost(h.Request.Add)
	}
	return headerOps{
		requestAdd:     headersToAdd(h.Request),
		responseAdd:    headersToAdd(h.Response),
		requestRemove:  headersToRemove(h.Request.Remove),
		responseRemove: headersToRemove(h.Response.Remove),
		authority:      authority,
	}
}

func headersToAdd(ops mesh.HeaderOps) []*corev3.HeaderValueOption {
	if len(ops.Set)+len(ops.Add) == 0 {
		return nil
	}
	list := make([]*corev3.HeaderValueOption, 0, len(ops.Set)+len(ops.Add))
	write := func(values []mesh.HeaderValue, action corev3.HeaderValueOption_HeaderAppendAction) {
		for _, v := range values {
			if !pseudo(v.Name) {
				list = append(list, &corev3.HeaderValueOption{
					Header: &corev3.HeaderValue{Key: v.Name, Value: v.Value}, AppendAction: action,
				})
			}
		}
	}
	write(ops.Set, corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD)
	write(ops.Add, corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD)
	return list
}

func headersToRemove(names []string) []string {
	var list []string
	for _, name := range names {
		if !pseudo(name) {
			list = append(list, name)
		}
	}
	return list
}

// pseudo reports whether a name stands for the request line's parts, which are not changed as fields.
func pseudo(name string) bool { return strings.HasPrefix(name, ":") || strings.EqualFold(name, "host") }

func lastHost(values []mesh.HeaderValue) (authority string) {
	for _, v := range values {
		if strings.EqualFold(v.Name, "host") || strings.EqualFold(v.Name, ":authority") {
			authority = v.Value
		}
	}
	return authority
}
