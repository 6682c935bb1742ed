// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/umbra-mesh/umbra/internal/app"
	"github.com/umbra-mesh/umbra/test/meshtest"
)

// TestScenarios runs testdata/*.txtar: YAML as a user writes it, requests over real connections, and what the client and
// the upstreams see. A file has
//
//	-- services --     optional: names of upstreams; each is a ServiceEntry <name>.test, and there is a Gateway gw for *
//	-- config.yaml --  with $PORT_a for the port of upstream a, and so on for each that is named
//	-- answers --      optional: "a: 503, 503, 200; x-field: v, reset" are a's answers in order; the last one stays
//	-- flags --        optional: "namespace: n", "labels: k=v,k=v", "locality: r/z/s", "outbound", "outbound-policy: ..."
//	-- steps --
//
// A step is a line, and lines below it, indented:
//
//	send GET /path [xN]     a request (N of them); below: "name: value" fields, "body: text"
//	expect 200              the answer to the last send; below: "name: value", "!name" for a field that is not there;
//	                        "sticky: yes": x-from is the same in all answers
//	upstream a GET /path    a got that (each of the last sends is asked for in order); below: as for expect
//	only a GET /path        the same, and the head has exactly the fields below, in that order; "*" is any value
//	until GET /path 200     sends until it is answered so; below: as for expect
//	quiet a                 a got nothing that was not asked for
//	count a N               a got N requests that were not asked for, and they are forgotten
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no scenarios", err)
	}
	for _, path := range files {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			t.Parallel()
			a, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			newScenario(t, a).play()
		})
	}
}

type scenario struct {
	t         *testing.T
	steps     []step
	ports     [2]int // gateway's, outbound's
	upstreams map[string]*upstream
	last      []reply // to the last send
}

type step struct {
	words []string
	below []string
	line  string
}

// freePorts are two that no upstream of a test gets.
func freePorts(t *testing.T) [2]int {
	t.Helper()
	return [2]int{int(meshtest.FreePort(t)), int(meshtest.FreePort(t))}
}

func newScenario(t *testing.T, a *txtar.Archive) *scenario {
	s := &scenario{t: t, ports: freePorts(t), upstreams: map[string]*upstream{}}
	parts := map[string]string{}
	for _, f := range a.Files {
		parts[f.Name] = string(f.Data)
	}
	answers := map[string][]string{}
	for line := range strings.Lines(parts["answers"]) {
		if name, list, ok := strings.Cut(strings.TrimSpace(line), ": "); ok {
			answers[name] = strings.Split(list, ", ")
		}
	}
	config := os.Expand(mesh(parts["services"])+parts["config.yaml"], func(key string) string {
		if key == "PORT" {
			return strconv.Itoa(s.ports[0])
		}
		name, ok := strings.CutPrefix(key, "PORT_")
		if !ok {
			return "$" + key
		}
		u := s.upstreams[name]
		if u == nil {
			u = newUpstream(t, name, answers[name])
			s.upstreams[name] = u
		}
		return strconv.Itoa(u.port)
	})
	s.steps = parseSteps(t, parts["steps"])
	dir := t.TempDir()
	write(t, filepath.Join(dir, "config.yaml"), config)
	in := app.Input{
		Paths: []string{dir}, Namespace: "default", Bind: "127.0.0.1", Ports: map[uint32]uint32{80: uint32(s.ports[0])},
	}
	flags(t, parts["flags"], &in, s.ports[1])
	running, err := app.New(app.Options{Input: in, Workers: 1, LateLoops: true})
	if err != nil {
		t.Fatalf("%v\n%s", err, config)
	}
	t.Cleanup(running.Close)
	return s
}

// mesh is a gateway, and a service for each name.
func mesh(names string) string {
	if names == "" {
		return ""
	}
	var b strings.Builder
	b.WriteString(`apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw, namespace: default}
spec:
  servers:
  - {port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}
---
`)
	for name := range strings.FieldsSeq(names) {
		fmt.Fprintf(&b, `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: %[1]s, namespace: default}
spec:
  hosts: [%[1]s.test]
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: STATIC
  endpoints: [{address: 127.0.0.1, ports: {http: $PORT_%[1]s}}]
---
`, name)
	}
	return b.String()
}

func parseSteps(t *testing.T, text string) []step {
	var steps []step
	for line := range strings.Lines(text) {
		trimmed := strings.TrimSpace(line)
		switch {
		case trimmed == "" || trimmed[0] == '#':
		case line[0] != ' ':
			steps = append(steps, step{words: strings.Fields(trimmed), line: trimmed})
		case len(steps) == 0:
			t.Fatalf("%q is below nothing", line)
		default:
			last := &steps[len(steps)-1]
			last.below = append(last.below, trimmed)
		}
	}
	return steps
}

func (s *scenario) play() {
	for _, st := range s.steps {
		switch st.words[0] {
		case "send":
			s.send(st)
		case "until":
			s.until(st)
		case "expect":
			s.expect(st)
		case "upstream", "only":
			s.upstream(st)
		case "quiet", "count":
			s.count(st)
		default:
			s.t.Fatalf("unknown step %q", st.line)
		}
		if s.t.Failed() {
			s.t.Fatalf("at step %q", st.line)
		}
	}
}

func (s *scenario) send(st step) {
	n := 1
	if len(st.words) == 4 {
		n, _ = strconv.Atoi(strings.TrimPrefix(st.words[3], "x"))
	}
	s.last = nil
	for range n {
		s.last = append(s.last, exchange(s.t, s.ports, st.words[1], st.words[2], st.below))
	}
}

// until asks again and again, a hundredth of a second apart, until it is answered so, or so many times in a row.
func (s *scenario) until(st step) {
	want, row := 1, 0
	if len(st.words) == 5 {
		want, _ = strconv.Atoi(strings.TrimPrefix(st.words[4], "x"))
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	end := time.After(deadline)
	for {
		r := exchange(s.t, s.ports, st.words[1], st.words[2], nil)
		holds := strconv.Itoa(r.status) == st.words[3]
		for _, w := range st.below {
			name, value, _ := strings.Cut(w, ": ")
			have, _ := r.get(name)
			holds = holds && have == value
		}
		if row++; !holds {
			row = 0
		}
		if row == want {
			break
		}
		select {
		case <-tick.C:
		case <-end:
			s.t.Errorf("still answered %d %q", r.status, r.body)
			return
		}
	}
	for _, u := range s.upstreams { // what that took does not count
		for len(u.got) > 0 {
			<-u.got
		}
	}
}

func (s *scenario) expect(st step) {
	first, _ := s.last[0].get("x-from")
	for _, r := range s.last {
		if from, _ := r.get("x-from"); slices.Contains(st.below, "sticky: yes") && from != first {
			s.t.Errorf("answers from %s and %s", first, from)
			return
		}
		if got := strconv.Itoa(r.status); got != st.words[1] {
			s.t.Errorf("answer %s %q, want %s", got, r.body, st.words[1])
			return
		}
		s.holds("the answer", &r.seen, st.below)
	}
}

func (s *scenario) upstream(st step) {
	got, ok := receive(s.upstreams[st.words[1]])
	if !ok {
		s.t.Errorf("%s got nothing", st.words[1])
		return
	}
	if got.method != st.words[2] || got.target != st.words[3] {
		s.t.Errorf("%s got %s %s", st.words[1], got.method, got.target)
	}
	if st.words[0] == "upstream" {
		s.holds(st.words[1], &got, st.below)
		return
	}
	var head []string
	for i, f := range got.fields {
		value := f[1]
		if i < len(st.below) && strings.HasSuffix(st.below[i], ": *") {
			value = "*"
		}
		head = append(head, f[0]+": "+value)
	}
	if have, want := strings.Join(head, "\n"), strings.Join(st.below, "\n"); have != want {
		s.t.Errorf("%s got the fields\n%s\nwant\n%s", st.words[1], have, want)
	}
}

func (s *scenario) count(st step) {
	u := s.upstreams[st.words[1]]
	if u == nil {
		s.t.Errorf("there is no upstream %s", st.words[1])
		return
	}
	n := 0
	if len(st.words) == 3 {
		n, _ = strconv.Atoi(st.words[2])
	}
	for range n {
		if _, ok := receive(u); !ok {
			s.t.Errorf("%s got less than %d", u.name, n)
			return
		}
	}
	if len(u.got) > 0 {
		s.t.Errorf("%s got %d more, first %+v", u.name, len(u.got), <-u.got)
	}
}

// holds compares fields: "name: value", "name: *" for any, "!name" for none, "body: text".
func (s *scenario) holds(what string, got *seen, want []string) {
	for _, w := range want {
		name, value, _ := strings.Cut(w, ": ")
		have, there := got.get(name)
		switch {
		case name == "sticky":
		case strings.HasPrefix(w, "!"):
			if v, there := got.get(w[1:]); there {
				s.t.Errorf("%s has %s: %s", what, w[1:], v)
			}
		case name == "body":
			if got.body != value {
				s.t.Errorf("%s has body %q, want %q", what, got.body, value)
			}
		case !there:
			s.t.Errorf("%s has no %s, only %v", what, name, got.fields)
		case value != "*" && have != strings.TrimSuffix(value, ":"):
			s.t.Errorf("%s has %s: %s, want %s", what, name, have, value)
		}
	}
}

func flags(t *testing.T, text string, in *app.Input, outbound int) {
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		if err := flag(in, name, value, outbound); err != nil {
			t.Fatal(err)
		}
	}
}

func labelsOf(value string) map[string]string {
	labels := map[string]string{}
	for pair := range strings.SplitSeq(value, ",") {
		k, v, _ := strings.Cut(pair, "=")
		labels[k] = v
	}
	return labels
}

func flag(in *app.Input, name, value string, outbound int) error {
	switch name {
	case "":
	case "namespace":
		in.Namespace = value
	case "labels":
		in.Labels = labelsOf(value)
	case "outbound":
		in.Outbound = loopback(outbound)
	default:
		return fmt.Errorf("unknown flag %q", name)
	}
	return nil
}
