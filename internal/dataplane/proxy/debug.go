// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"bytes"
	"context"
	"errors"
	"log/slog"

	"github.com/umbra-mesh/umbra/internal/dataplane/codec"
	"github.com/umbra-mesh/umbra/internal/dataplane/upstream"
)

// This file is the process's log at debug level: a line for what a counter says did not go well, with who and why. The
// logger never makes a worker wait; below the level nothing is put together.

func (wk *Worker) debugging() bool {
	l := wk.server.logger
	return l != nil && l.Enabled(context.Background(), slog.LevelDebug)
}

// tell logs a request that did not simply get an upstream's answer. Queries may hold secrets and are left out.
func (s *Stream) tell() {
	cut := s.details == shutdown || s.details == listenerGone
	if s.flag == "" && !cut || s.status == 0 && s.d.blank() || !s.wk.debugging() {
		return
	}
	h := &s.head
	path, _, _ := bytes.Cut(originalPath(h), []byte("?"))
	args := []any{
		"peer", s.d.peer, "listener", s.d.local, "flags", s.flags(), "details", s.details, "status", s.status,
		"method", string(h.Method), "authority", string(h.Authority), "path", string(path),
	}
	if s.cluster != nil {
		args = append(args, "cluster", s.cluster.Name)
	}
	if s.host != nil {
		args = append(args, "upstream", s.upRemote)
	}
	s.wk.server.logger.Debug("request failed", args...)
}

// tellAttempt logs an attempt that came to nothing: the request may be sent once more. What is wrong with an answer is
// told without its bytes.
func (s *Stream) tellAttempt(f upstream.Failure) {
	if !s.wk.debugging() {
		return
	}
	why := f.Err
	if bad := (*codec.Error)(nil); errors.As(f.Err, &bad) {
		why = errors.New(bad.Detail)
	}
	s.wk.server.logger.Debug("attempt failed", "upstream", s.upRemote, "cluster", s.cluster.Name, "attempt", s.attempts,
		"reused", f.Reused, "error", why, "peer", s.d.peer)
}

// tell logs the end of a connection that carried no request then.
func (d *Downstream) tell(why string) {
	if d.wk.debugging() {
		d.wk.server.logger.Debug("client connection closed", "peer", d.peer, "listener", d.local, "why", why)
	}
}
