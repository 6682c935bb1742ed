// SPDX-License-Identifier: Apache-2.0

package strict

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/umbra-mesh/umbra/internal/app"
	"github.com/umbra-mesh/umbra/internal/controlplane/compile"
	"github.com/umbra-mesh/umbra/test/meshtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const resources = `apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw, namespace: default}
spec:
  servers:
  - {port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: vs, namespace: default}
spec:
  hosts: ["*"]
  gateways: [gw]
  http:
  - route: [{destination: {host: a.test}}]
    retries: {attempts: 0}
    mirror: {host: m.test}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: a, namespace: default}
spec:
  hosts: [a.test]
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: STATIC
  endpoints: [{address: 127.0.0.1, ports: {http: %d}}]
`

const mirrored = `---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: m, namespace: default}
spec:
  hosts: [m.test]
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: STATIC
  endpoints: [{address: 127.0.0.1, ports: {http: %d}}]
`

// serve starts a proxy between a client and o, with copies to m if there is one.
func serve(t *testing.T, o, m *Origin, paths compile.PathNormalization) (addr string) {
	t.Helper()
	return start(t, o, m, paths, func(*app.Options) {}).served
}

// running is a proxy and where it serves.
type running struct {
	app    *app.App
	served string
}

// start is serve with settings that change makes.
func start(t *testing.T, o, m *Origin, paths compile.PathNormalization, change func(*app.Options)) running {
	t.Helper()
	served := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), meshtest.FreePort(t))
	yaml := fmt.Sprintf(resources, port(t, o))
	if m != nil {
		yaml += fmt.Sprintf(mirrored, port(t, m))
	} else {
		yaml = strings.Replace(yaml, "    mirror: {host: m.test}\n", "", 1)
	}
	opts := app.Options{Workers: 1, LateLoops: true, Input: app.Input{
		Paths: []string{"-"}, Stdin: strings.NewReader(yaml), Bind: "127.0.0.1",
		Ports: map[uint32]uint32{80: uint32(served.Port())}, PathNormalization: paths,
	}}
	change(&opts)
	a, err := app.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	return running{a, served.String()}
}

func port(t *testing.T, o *Origin) (n int) {
	_, p, err := net.SplitHostPort(o.Addr)
	if err == nil {
		n, err = strconv.Atoi(p)
	}
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func listen(t *testing.T) *Origin {
	o, err := Listen()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(o.Close)
	return o
}

// Every case goes through a whole proxy.
func TestNothingMalformedPassesAndNoClientsFaultIsOurs(t *testing.T) {
	o := listen(t)
	addr := serve(t, o, nil, compile.NormalizeBase)
	for _, c := range Cases() {
		t.Run(c.Name, func(t *testing.T) {
			r, err := Probe(addr, o, &c)
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range r.Faults {
				t.Errorf("%s: %s\nsent %.300q", c.RFC, f, c.Send)
			}
		})
	}
}

// window is what a copy may lag behind.
const window = 8 << 20

func TestWhatIsOddAndRightTravelsAsItIsToProductionAndMirror(t *testing.T) {
	o, m := listen(t), listen(t)
	addr := serve(t, o, m, compile.NormalizeNone)
	for _, odd := range Odds() {
		t.Run(odd.Name, func(t *testing.T) {
			o.Tell("", false)
			m.Tell("", false)
			c, err := net.DialTimeout("tcp", addr, patience)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if err := c.SetDeadline(time.Now().Add(6 * patience)); err != nil {
				t.Fatal(err)
			}
			var sending sync.WaitGroup
			sending.Go(func() { io.WriteString(c, odd.Wire()) }) // an error shows in the answer
			resp, err := http.ReadResponse(bufio.NewReader(c), nil)
			sending.Wait()
			if err != nil || resp.StatusCode != 200 {
				t.Fatalf("answered %v, %v", resp, err)
			}
			for name, side := range map[string]*Origin{"production": o, "the mirror": m} {
				got, ok := side.Next()
				switch d := odd.Same(&got, side == m); {
				case !ok:
					t.Errorf("%s got nothing", name)
				case side == m && got.Faulty != "" && len(odd.Body) > window:
					// It could not keep up, and was broken so that it shows.
				case d != "":
					t.Errorf("at %s %s", name, d)
				}
			}
		})
	}
}
