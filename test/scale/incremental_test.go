// SPDX-License-Identifier: Apache-2.0

package scale

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/umbra-mesh/umbra/internal/app"
)

// object is a resource in one of its editions; all editions are good, whatever else is there.
type object struct {
	kind, name string
	editions   []string // of spec
}

func (o object) yaml(edition int) string {
	version := "networking.istio.io/v1"
	if o.kind == "Service" {
		version = "v1"
	}
	return fmt.Sprintf("apiVersion: %s\nkind: %s\nmetadata: {name: %s, namespace: default}\nspec:\n%s", version, o.kind,
		o.name, o.editions[edition%len(o.editions)])
}

// objects are some of each kind that refers to, or is looked up by, others.
func objects() []object {
	all := []object{
		{"Gateway", "gw", []string{
			"  servers:\n  - {port: {number: 80, name: http, protocol: HTTP}, bind: 127.0.0.1, hosts: ['*']}\n",
			"  servers:\n  - {port: {number: 80, name: http, protocol: HTTP}, bind: 127.0.0.1, hosts: ['*.example', h1.example]}\n",
		}},
		{"VirtualService", "leaf", []string{
			"  http:\n  - route: [{destination: {host: s1.example}}]\n",
			"  http:\n  - match: [{uri: {prefix: /leaf}}]\n    route: [{destination: {host: s2.example, subset: v1}}]\n    timeout: 3s\n",
		}},
		{"VirtualService", "root", []string{
			"  hosts: [root.example]\n  gateways: [gw, mesh]\n  http:\n  - delegate: {name: leaf}\n",
			"  hosts: [root.example]\n  gateways: [gw]\n  http:\n  - match: [{method: {exact: GET}}]\n    delegate: {name: leaf}\n",
		}},
		{"Service", "kube", []string{
			"  clusterIP: 10.0.0.9\n  ports: [{name: http, port: 80}]\n",
			"  clusterIP: 10.0.0.9\n  ports: [{name: http, port: 80}, {name: http-b, port: 81}]\n",
		}},
		{"DestinationRule", "wide", []string{
			"  host: '*.example'\n  trafficPolicy: {loadBalancer: {simple: RANDOM}}\n",
			"  host: '*.example'\n  trafficPolicy: {connectionPool: {http: {http1MaxPendingRequests: 7}}}\n",
		}},
	}
	for i := range 4 {
		host := fmt.Sprintf("s%d.example", i)
		all = append(all, object{"ServiceEntry", fmt.Sprint("s", i), []string{
			"  hosts: [" + host + "]\n  ports: [{number: 80, name: http, protocol: HTTP}]\n  resolution: STATIC\n" +
				"  endpoints: [{address: 127.0.0.1, labels: {v: a}}]\n",
			"  hosts: [" + host + "]\n  ports: [{number: 80, name: http, protocol: HTTP}]\n  resolution: STATIC\n" +
				"  endpoints: [{address: 127.0.0.1, labels: {v: a}}, {address: 127.0.0.2, labels: {v: b}}]\n",
			"  hosts: [" + host + "]\n  ports: [{number: 80, name: http, protocol: HTTP}]\n  resolution: STATIC\n",
		}}, object{"DestinationRule", fmt.Sprint("s", i), []string{
			"  host: " + host + "\n  subsets: [{name: v1, labels: {v: a}}]\n",
			"  host: " + host + "\n  subsets: [{name: v1, labels: {v: b}}, {name: v2, labels: {v: a}}]\n",
		}})
	}
	for i := range 12 {
		head := fmt.Sprintf("  hosts: [h%d.example]\n  gateways: [gw, mesh]\n  http:\n", i)
		to := func(k int) string { return fmt.Sprintf("{destination: {host: s%d.example}}", k%4) }
		all = append(all, object{"VirtualService", fmt.Sprint("h", i), []string{
			head + "  - route: [" + to(i) + "]\n",
			head + "  - route: [" + to(i) + "]\n    mirror: {host: s" + fmt.Sprint((i+1)%4) + ".example}\n",
			head + "  - match: [{uri: {prefix: /a}}]\n    route: [" + to(i+1) + "]\n  - route: [" + to(i+2) + "]\n",
			head + "  - match: [{headers: {x: {exact: y}}}]\n    redirect: {uri: /b}\n  - directResponse: {status: 404}\n",
			head + fmt.Sprintf("  - route: [{destination: {host: kube, port: {number: %d}}}]\n", 80+i%2),
		}})
	}
	return all
}

// tree is what the files hold: for each the objects and their editions, in order.
type tree struct {
	dir   string
	files [4][]placed
}

type placed struct {
	object
	edition int
	comment string
}

// edit changes one thing, and what is written is what was changed only.
func (f *tree) edit(t *testing.T, rnd *rand.Rand, left *[]object) {
	t.Helper()
	n := rnd.IntN(len(f.files))
	in := &f.files[n]
	switch at := rnd.IntN(len(*in) + 1); rnd.IntN(8) {
	case 0: // one more
		if len(*left) > 0 {
			k := rnd.IntN(len(*left))
			*in = slices.Insert(*in, at, placed{object: (*left)[k], edition: rnd.IntN(4)})
			*left = slices.Delete(*left, k, k+1)
		}
	case 1: // one less
		if at < len(*in) && len(*in) > 1 {
			*left = append(*left, (*in)[at].object)
			*in = slices.Delete(*in, at, at+1)
		}
	case 2: // one goes to another file
		if to := &f.files[rnd.IntN(len(f.files))]; at < len(*in) && len(*in) > 1 && to != in {
			*to = append(*to, (*in)[at])
			*in = slices.Delete(*in, at, at+1)
		}
	case 3: // all change places
		rnd.Shuffle(len(*in), func(i, k int) { (*in)[i], (*in)[k] = (*in)[k], (*in)[i] })
	case 4: // all move down
		if len(*in) > 0 {
			(*in)[0].comment += "# a comment\n"
		}
	default:
		if at < len(*in) {
			(*in)[at].edition++
		}
	}
	f.write(t)
}

func (f *tree) write(t *testing.T) {
	t.Helper()
	for i, file := range f.files {
		var docs []string
		for _, p := range file {
			docs = append(docs, p.comment+p.yaml(p.edition))
		}
		path := filepath.Join(f.dir, fmt.Sprint(i, ".yaml"))
		if err := os.WriteFile(path, []byte(strings.Join(docs, "---\n")), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// TestAReloadGivesWhatAFreshProcessWould: what is kept from one configuration to the next is never what a fresh reading
// would not make.
func TestAReloadGivesWhatAFreshProcessWould(t *testing.T) {
	rnd := rand.New(rand.NewPCG(7, 11))
	f := &tree{dir: t.TempDir()}
	left := objects()
	for i := range f.files { // each has something: an emptied file is not an edit but an accident
		f.files[i] = append(f.files[i], placed{object: left[0]})
		left = left[1:]
	}
	f.write(t)
	ports := freePorts(t, 4) // in order, as are listeners: by name
	start := func(gateway, outbound string) *app.App {
		number := func(s string) (n uint32) { _, _ = fmt.Sscan(s, &n); return n }
		a, err := app.New(app.Options{
			Input: app.Input{
				Paths: []string{f.dir}, Namespace: "default", Ports: map[uint32]uint32{80: number(gateway)},
				Outbound: netip.MustParseAddrPort("127.0.0.1:" + outbound),
			},
			Admin: "127.0.0.1:0", Workers: 1,
		})
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	kept := start(ports[0], ports[1])
	defer kept.Close()
	for i := range 60 {
		for range 1 + rnd.IntN(3) {
			f.edit(t, rnd, &left)
		}
		kept.Reload()
		fresh := start(ports[2], ports[3])
		same := strings.NewReplacer(ports[2], ports[0], ports[3], ports[1])
		for _, page := range []string{"/config_dump?include_eds", "/ready"} {
			want, got := same.Replace(pageOf(t, fresh, page)), pageOf(t, kept, page)
			if diff := cmp.Diff(strings.Split(want, "\n"), strings.Split(got, "\n")); diff != "" {
				fresh.Close()
				t.Fatalf("edit %d: %s of a fresh process (-), after reloads (+):\n%s", i, page, diff)
			}
		}
		fresh.Close()
	}
}

// freePorts are out of the ranges of which connections and other tests take theirs, so that they are free again after each
// use.
func freePorts(t *testing.T, n int) []string {
	t.Helper()
	var ports []string
	for port := 32_000; port < 32_700 && len(ports) < n; port++ {
		if l, err := net.Listen("tcp", fmt.Sprint("127.0.0.1:", port)); err == nil {
			l.Close()
			ports = append(ports, fmt.Sprint(port))
		}
	}
	if len(ports) < n {
		t.Fatalf("%d free ports of %d", len(ports), n)
	}
	return ports
}

// pageOf is an admin page; of a dump without what tells when.
func pageOf(t *testing.T, a *app.App, path string) string {
	t.Helper()
	resp, err := http.Get("http://" + a.Admin() + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var dump any
	if json.Unmarshal(body, &dump) != nil {
		return string(body)
	}
	text, err := json.MarshalIndent(timeless(dump), "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func timeless(v any) any {
	switch v := v.(type) {
	case map[string]any:
		delete(v, "version_info")
		delete(v, "last_updated")
		for _, below := range v {
			timeless(below)
		}
	case []any:
		for _, below := range v {
			timeless(below)
		}
	}
	return v
}
