// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"golang.org/x/net/netutil"
)

// maxConns bounds the descriptors that curious clients can hold; more of them wait in the accept queue.
const maxConns = 64

// Server serves a handler on one address, with bounds on what a client may hold.
type Server struct {
	listener net.Listener
	http     *http.Server
}

// Listen binds addr (host:port; port 0 takes a free one). Nothing is served before Serve.
func Listen(addr string, h http.Handler, logger *slog.Logger) (*Server, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		cause := err
		if op := (*net.OpError)(nil); errors.As(err, &op) {
			cause = op.Err // without the address again
		}
		return nil, fmt.Errorf("listen on admin address %s: %w", addr, cause)
	}
	return On(l, h, logger), nil
}

// On is Listen for a listener that is there already; the Server closes it.
func On(l net.Listener, h http.Handler, logger *slog.Logger) *Server {
	return &Server{
		listener: l,
		http: &http.Server{
			Handler:           h,
			ReadHeaderTimeout: 10 * time.Second,
			ReadTimeout:       30 * time.Second,
			IdleTimeout:       time.Minute,
			MaxHeaderBytes:    64 << 10,
			ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelWarn),
		},
	}
}

// Listener is what it serves on, to be passed on to another process.
func (s *Server) Listener() net.Listener { return s.listener }

// Addr is the address bound.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Serve answers until Close; then it returns nil.
func (s *Server) Serve() error {
	err := s.http.Serve(netutil.LimitListener(s.listener, maxConns))
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// Close stops listening, lets answers under way end until ctx does, and then cuts them.
func (s *Server) Close(ctx context.Context) error {
	err := s.http.Shutdown(ctx)
	if err != nil {
		_ = s.http.Close() // the first error is the one to tell
	}
	_ = s.listener.Close() // for a Server that never served
	return err
}
