// SPDX-License-Identifier: Apache-2.0

// Package admin serves what an operator wants to see of a running process, and the one thing to change: whether
// mirrors are on. It keeps no state of its own and is never in the way of traffic; what it shows comes through Deps.
package admin

import (
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/umbra-mesh/umbra/internal/logging"
)

// Live is the state in which /ready answers 200.
const Live = "LIVE"

// Deps is where the pages get what they show. Functions are called from many goroutines at once, and what they return
// is the page's own, except protos, which nobody writes to. Without a function there is nothing of its sort to show;
// Gatherer is needed.
type Deps struct {
	Dump       func() Accepted  // configuration that the data plane accepted
	Problems   func() []string  // what is wrong with the configuration, each one line; nil: nothing
	Mirrors    func() []Mirror  // in the order to show
	SetMirrors func(on bool)    // the kill switch
	State      func() string    // Envoy's word, e.g. LIVE, DRAINING; nil: LIVE
	Clusters   func() []Cluster // nil: there is no /clusters
	Gatherer   prometheus.Gatherer
	Logger     *slog.Logger // nil: slog.Default
	Log        *logging.Log // whose level /logging changes; nil: there is no such page
}

type server struct {
	Deps
	dumping sync.Mutex // one dump at a time: it is the one answer that takes memory
}

// writeTimeout bounds how long a client may take to read a page. Profiles take as long as they are asked for.
const writeTimeout = 30 * time.Second

// New returns the pages. A method that a page does not have is 405, and a state change from another web site's page
// (RFC 6454 §4) is 403.
func New(d Deps) http.Handler {
	if d.Logger == nil {
		d.Logger = slog.Default()
	}
	s := &server{Deps: d}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.index)
	mux.HandleFunc("GET /config_dump", s.configDump)
	mux.HandleFunc("GET /stats", s.stats)
	mux.Handle("GET /stats/prometheus", promhttp.HandlerFor(d.Gatherer, promhttp.HandlerOpts{
		ErrorLog: slog.NewLogLogger(d.Logger.Handler(), slog.LevelWarn),
	}))
	mux.HandleFunc("GET /ready", s.ready)
	mux.HandleFunc("GET /mirrors", s.mirrors)
	mux.HandleFunc("POST /mirrors", s.setMirrors)
	if d.Log != nil {
		mux.HandleFunc("GET /logging", s.logging)
		mux.HandleFunc("POST /logging", s.setLogging)
	}
	if d.Clusters != nil {
		mux.HandleFunc("GET /clusters", s.clusters)
	}

	profiles := http.NewServeMux()
	profiles.HandleFunc("GET /debug/pprof/", pprof.Index)
	profiles.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	profiles.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	profiles.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	profiles.HandleFunc("POST /debug/pprof/symbol", pprof.Symbol) // how go tool pprof asks
	profiles.HandleFunc("GET /debug/pprof/trace", pprof.Trace)

	root := http.NewServeMux()
	root.Handle("/", bounded(mux))
	root.Handle("/debug/pprof/", profiles)
	return http.NewCrossOriginProtection().Handler(ownName(root))
}

// ownName refuses changes that were addressed to a name, unless that is localhost: a page whose name was made to
// resolve to this machine (DNS rebinding) is of the same origin to a browser, but cannot hide its name.
func ownName(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost && !isOwn(r.Host) {
			http.Error(w, "changes are made by IP address or localhost", http.StatusForbidden)
			return
		}
		h.ServeHTTP(w, r)
	})
}

func isOwn(host string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	_, err := netip.ParseAddr(strings.Trim(name, "[]"))
	return err == nil || name == "localhost"
}

// bounded ends an answer whose client does not read it within writeTimeout.
func bounded(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		writeWithin(w)
		h.ServeHTTP(w, r)
	})
}

// writeWithin starts the client's time to read anew.
func writeWithin(w http.ResponseWriter) {
	// A writer that knows no deadlines has no slow client either.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTimeout))
}

// ready says whether traffic may come. Configuration problems do not take the process out of service: what was
// accepted before is still served.
func (s *server) ready(w http.ResponseWriter, _ *http.Request) {
	state := Live
	if s.State != nil {
		state = s.State()
	}
	text(w)
	if state != Live {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	fmt.Fprintln(w, state)
	if s.Problems == nil {
		return
	}
	if problems := s.Problems(); len(problems) > 0 {
		noun := "problems"
		if len(problems) == 1 {
			noun = "problem"
		}
		fmt.Fprintf(w, "%d configuration %s:\n", len(problems), noun)
		for _, p := range problems {
			fmt.Fprintln(w, p)
		}
	}
}

func text(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
}
