// SPDX-License-Identifier: Apache-2.0

package app

import (
	"strings"
	"testing"
)

// What the data plane alone knows is told of the resource, so that it is refused by itself.
func TestCheckKnowsWhatTheDataPlaneRefuses(t *testing.T) {
	in := Input{Paths: []string{"-"}, Namespace: "default", Stdin: strings.NewReader(`
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: v}
spec:
  hosts: [a.example]
  http:
  - headers: {request: {set: {x: "%REQ(a)%", y: "%FOO%"}}}
    directResponse: {status: 200}
`)}
	problems, err := Check(in)
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, p := range problems {
		if strings.Contains(p.Field, "headers") {
			found = append(found, p.String())
		}
	}
	const want = "-:8: error: VirtualService default/v: spec.http[0].headers.request.set[y]: header value: %FOO%: unknown command FOO"
	if len(found) != 1 || !strings.HasPrefix(found[0], want) {
		t.Errorf("got %q, want %q", found, want)
	}
}
