// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"fmt"
	"log/slog"
	"net/http"

	"github.com/umbra-mesh/umbra/internal/logging"
)

// logging shows the log's level.
func (s *server) logging(w http.ResponseWriter, _ *http.Request) {
	text(w)
	fmt.Fprintf(w, "active loggers:\n  umbra: %s\n", logging.LevelName(s.Log.Level()))
}

// setLogging changes the log's level, as Envoy's page of this name does.
func (s *server) setLogging(w http.ResponseWriter, r *http.Request) {
	name := r.URL.Query().Get("level")
	level, err := logging.ParseLevel(name)
	if err != nil {
		http.Error(w, err.Error()+": POST /logging?level=debug", http.StatusBadRequest)
		return
	}
	s.Log.SetLevel(level)
	s.Logger.Log(r.Context(), max(level, slog.LevelInfo), "log level set", "level", logging.LevelName(level), "by", r.RemoteAddr)
	s.logging(w, r)
}
