// SPDX-License-Identifier: Apache-2.0

package admin_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/umbra-mesh/umbra/internal/admin"
)

func TestServerServesUntilClosed(t *testing.T) {
	s, err := admin.Listen("127.0.0.1:0", admin.New(admin.Deps{Gatherer: prometheus.NewRegistry(), Logger: quiet}), quiet)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := admin.Listen(s.Addr().String(), nil, quiet); err == nil ||
		!strings.Contains(err.Error(), "admin address "+s.Addr().String()+": bind: address already in use") {
		t.Errorf("binding a taken port: %v, want an error naming it", err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve() }()
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+s.Addr().String()+"/ready", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if string(body) != "LIVE\n" {
		t.Errorf("body %q", body)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := s.Close(ctx); err != nil {
		t.Error(err)
	}
	if err := <-served; err != nil {
		t.Errorf("Serve: %v", err)
	}
}

func TestCloseCutsAnswersThatDoNotEnd(t *testing.T) {
	entered := make(chan struct{})
	s, err := admin.Listen("127.0.0.1:0", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(entered)
		<-r.Context().Done()
	}), quiet)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve() }()
	req, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+s.Addr().String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	answered := make(chan error, 1)
	go func() {
		resp, err := new(http.Transport).RoundTrip(req)
		if err == nil {
			_ = resp.Body.Close()
		}
		answered <- err
	}()
	<-entered
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Close(ctx); err == nil {
		t.Error("Close said that everything ended")
	}
	if err := <-answered; err == nil {
		t.Error("the answer came to an end")
	}
	if err := <-served; err != nil {
		t.Errorf("Serve: %v", err)
	}
}

func TestCloseWithoutServeFreesThePort(t *testing.T) {
	s, err := admin.Listen("127.0.0.1:0", http.NotFoundHandler(), quiet)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Error(err)
	}
	again, err := admin.Listen(s.Addr().String(), http.NotFoundHandler(), quiet)
	if err != nil {
		t.Fatal(err)
	}
	_ = again.Close(t.Context())
}
