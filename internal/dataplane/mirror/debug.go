// SPDX-License-Identifier: Apache-2.0

package mirror

import (
	"context"
	"log/slog"
)

// tell logs a copy that was dropped, at debug level: who would have got it, and why not. The logger does not block.
func (c *Copy) tell(cause Cause) {
	e := c.local.engine
	if !e.cfg.Logger.Enabled(context.Background(), slog.LevelDebug) {
		return
	}
	args := []any{
		"cause", cause.String(), "mirror", c.policy.Stats.ID, "cluster", c.clusterName(),
		"request", string(c.tap.reqID[:c.tap.reqIDLen]),
	}
	if c.to != nil {
		args = append(args, "upstream", c.to.Addr)
	}
	e.cfg.Logger.Debug("copy dropped", args...)
}
