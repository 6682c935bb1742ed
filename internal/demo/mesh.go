// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/umbra-mesh/umbra/internal/app"
)

// meshConfig is what one mesh is made of.
type meshConfig struct {
	Name     string   // its workload says so in X-Served-By
	Files    []string // resources
	Workload uint16   // loopback ports
	Gateway  uint16
}

// mesh is an ingress gateway with its workload, in this process.
type mesh struct {
	app      *app.App
	workload *http.Server
	running  sync.WaitGroup
	unwatch  context.CancelFunc

	files          []string
	gateway, admin string // host:port
	mirrors        []string
}

// startMesh starts both; record gets each request that the workload sees, before it is answered.
func startMesh(cfg meshConfig, logger *slog.Logger, record func(Seen)) (*mesh, error) {
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", cfg.Workload))
	if err != nil {
		return nil, err
	}
	m := &mesh{
		workload: &http.Server{Handler: workload(cfg.Name, record), ReadHeaderTimeout: 10 * time.Second},
		files:    cfg.Files,
		gateway:  fmt.Sprintf("127.0.0.1:%d", cfg.Gateway),
	}
	var ctx context.Context
	ctx, m.unwatch = context.WithCancel(context.Background())
	m.running.Go(func() {
		if err := m.workload.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			logger.Error("workload ended", "name", cfg.Name, "error", err)
		}
	})
	m.app, err = app.New(app.Options{
		Input: app.Input{
			Paths: cfg.Files, Namespace: "default", Bind: "127.0.0.1", Ports: map[uint32]uint32{80: uint32(cfg.Gateway)},
		},
		Admin: "127.0.0.1:0", Workers: 1, Logger: logger, LateLoops: true,
	})
	if err != nil {
		m.close()
		return nil, err
	}
	m.running.Go(func() { m.app.Watch(ctx) })
	m.admin = m.app.Admin()
	for _, line := range m.app.StartLines() {
		if strings.HasPrefix(line, "mirror ") {
			m.mirrors = append(m.mirrors, line)
		}
	}
	return m, nil
}

func (m *mesh) close() {
	m.unwatch()
	_ = m.workload.Close() // connections are cut: copies under way have nobody to go to
	m.running.Wait()       // a reload must not meet an app that is closed
	if m.app != nil {
		m.app.Close()
	}
}
