// SPDX-License-Identifier: Apache-2.0

package build

import (
	"fmt"

	mutationrulesv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/umbra-mesh/umbra/internal/dataplane/filter"
	"github.com/umbra-mesh/umbra/internal/dataplane/format"
)

var appendActions = map[corev3.HeaderValueOption_HeaderAppendAction]filter.AppendAction{
	corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD:    filter.AppendIfExistsOrAdd,
	corev3.HeaderValueOption_ADD_IF_ABSENT:              filter.AddIfAbsent,
	corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD: filter.OverwriteIfExistsOrAdd,
	corev3.HeaderValueOption_OVERWRITE_IF_EXISTS:        filter.OverwriteIfExists,
}

// linkHeaders reads the changes of one place where fields are added and removed. kind is "request" or "response".
func linkHeaders(add []*corev3.HeaderValueOption, remove []string, kind string) ([]filter.Mutation, *fault) {
	if len(add)+len(remove) == 0 {
		return nil, nil
	}
	list := make([]filter.Mutation, 0, len(add)+len(remove))
	for i, name := range remove {
		m, bad := removal(name)
		if bad != nil {
			return nil, bad.under(fmt.Sprintf("%s_headers_to_remove[%d]", kind, i))
		}
		list = append(list, m)
	}
	for i, o := range add {
		m, bad := addition(o)
		if bad != nil {
			return nil, bad.under(fmt.Sprintf("%s_headers_to_add[%d]", kind, i))
		}
		list = append(list, m)
	}
	return list, nil
}

// linkMutations makes the changes of a list that is carried out as it stands.
func linkMutations(list []*mutationrulesv3.HeaderMutation) (*filter.Mutations, *fault) {
	if len(list) == 0 {
		return nil, nil
	}
	var all []filter.Mutation
	for i, h := range list {
		path := fmt.Sprintf("request_headers_mutations[%d]", i)
		var m filter.Mutation
		var bad *fault
		switch a := h.GetAction().(type) {
		case *mutationrulesv3.HeaderMutation_Remove:
			m, bad = removal(a.Remove)
			bad = bad.under("remove")
		case *mutationrulesv3.HeaderMutation_Append:
			m, bad = addition(a.Append)
			bad = bad.under("append")
		default:
			bad = faultf("action", "missing: remove or append")
		}
		if bad != nil {
			return nil, bad.under(path)
		}
		all = append(all, m)
	}
	return filter.NewMutations(all), nil
}

func removal(name string) (filter.Mutation, *fault) {
	m := filter.Mutation{Name: name, Remove: true}
	if err := m.Check(); err != nil {
		return m, faultf("", "%v", err)
	}
	return m, nil
}

func addition(o *corev3.HeaderValueOption) (filter.Mutation, *fault) {
	m := filter.Mutation{Name: o.GetHeader().GetKey(), KeepEmpty: o.GetKeepEmptyValue()}
	var ok bool
	if m.Action, ok = appendActions[o.GetAppendAction()]; !ok {
		return m, faultf("append_action", "%v is not implemented", o.GetAppendAction())
	}
	if err := m.Check(); err != nil {
		return m, faultf("header.key", "%v", err)
	}
	var err error
	if m.Value, err = format.ParseTemplate(o.GetHeader().GetValue()); err != nil {
		return m, faultf("header.value", "%v", err)
	}
	return m, nil
}
