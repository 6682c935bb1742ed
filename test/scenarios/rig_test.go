// SPDX-License-Identifier: Apache-2.0

package scenarios

import (
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/umbra-mesh/umbra/examples"
	"github.com/umbra-mesh/umbra/internal/admin"
	"github.com/umbra-mesh/umbra/internal/app"
	"github.com/umbra-mesh/umbra/test/meshtest"
)

// example is a file of the examples with pairs of texts replaced, each of which it has once.
func example(t *testing.T, path string, pairs ...string) string {
	t.Helper()
	raw, err := examples.Files.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return replace(t, string(raw), pairs...)
}

func replace(t *testing.T, text string, pairs ...string) string {
	t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		if strings.Count(text, pairs[i]) != 1 {
			t.Fatalf("%q is not there once in\n%s", pairs[i], text)
		}
		text = strings.Replace(text, pairs[i], pairs[i+1], 1)
	}
	return text
}

func port(n uint16) string { return fmt.Sprintf("http: %d", n) }

// write puts a file into a folder whole: no reader sees a part.
func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	return path
}

// proxy is a running Umbra, wherever it runs.
type proxy struct{ *meshtest.Umbra }

// serve runs Umbra in this process by a text, Gateway port 80 on a free port.
func serve(t *testing.T, text string, change ...func(*app.Options)) proxy {
	t.Helper()
	opts := meshtest.Options(t, text, meshtest.FreePort(t))
	for _, f := range change {
		f(&opts)
	}
	return proxy{meshtest.Run(t, opts)}
}

func outbound(t *testing.T) func(*app.Options) {
	addr := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), meshtest.FreePort(t))
	return func(o *app.Options) { o.Outbound = addr }
}

// page reads an admin page.
func (p proxy) page(t *testing.T, path string) string {
	t.Helper()
	return p.ask(t, http.MethodGet, path)
}

func (p proxy) ask(t *testing.T, method, path string) string {
	t.Helper()
	body, err := p.Ask(method, path)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// mirrors is one snapshot of them; the identity must hold in it.
func (p proxy) mirrors(t *testing.T) []admin.Mirror {
	t.Helper()
	list, err := p.Mirrors()
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// settled returns what is counted for the one mirror once no copy is under way.
func (p proxy) settled(t *testing.T) (m admin.Mirror) {
	t.Helper()
	meshtest.Until(t, "copies have ended", func() bool {
		list := p.mirrors(t)
		if len(list) != 1 {
			t.Fatalf("%d mirrors, want one", len(list))
		}
		m = list[0]
		return m.InFlight == 0
	})
	return m
}

// do makes one request and reads its answer.
func do(t *testing.T, tr *http.Transport, req *http.Request) (*http.Response, string) {
	t.Helper()
	client := &http.Client{Transport: tr, Timeout: meshtest.Patience}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

// get makes one request with a Host on a connection of its own.
func (p proxy) get(t *testing.T, host, path string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+p.Addr+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = host
	return do(t, &http.Transport{DisableKeepAlives: true}, req)
}

// load makes n requests, eight at a time on connections that stay, and has each answer looked at; complaints end it.
func (p proxy) load(t *testing.T, n int, path string, check func(*http.Response) error) {
	t.Helper()
	const clients = 8
	tr := &http.Transport{MaxIdleConnsPerHost: clients, DisableCompression: true}
	defer tr.CloseIdleConnections()
	client := &http.Client{Transport: tr, Timeout: meshtest.Patience}
	todo := make(chan int, n)
	for i := range n {
		todo <- i
	}
	close(todo)
	errs := make(chan error, clients)
	var sending sync.WaitGroup
	for range clients {
		sending.Go(func() {
			for i := range todo {
				if err := once(client, fmt.Sprintf("http://%s%s?n=%d", p.Addr, path, i), check); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	sending.Wait()
	close(errs)
	for err := range errs {
		t.Error(err)
	}
	if t.Failed() {
		t.FailNow()
	}
}

func once(client *http.Client, url string, check func(*http.Response) error) error {
	resp, err := client.Get(url)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if err := check(resp); err != nil {
		return fmt.Errorf("%s: %w", url, err)
	}
	return nil
}

// by wants 200 from one of the named workloads.
func by(names ...string) func(*http.Response) error {
	return func(r *http.Response) error {
		served := r.Header.Get("X-Served-By")
		for _, name := range names {
			if r.StatusCode == http.StatusOK && served == name {
				return nil
			}
		}
		return fmt.Errorf("%s by %q, want 200 by %v", r.Status, served, names)
	}
}
