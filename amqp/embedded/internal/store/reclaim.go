package store

import (
	"context"
	"time"
)

const (
	// reclaimEvery is how often it is looked whether much of the folder is garbage.
	reclaimEvery = time.Second
	// garbageMost and garbageShare: the folder is cleaned when it is larger than so much, and so many times what is in it.
	garbageMost  = 96 << 20
	garbageShare = 3
)

// reclaim gives back what the database holds of messages that are gone, until ctx is over. The database does that by itself only as more is
// written, which after a long queue was emptied may be never.
func (s *Store) reclaim(ctx context.Context) {
	tick := time.NewTicker(reclaimEvery)
	defer tick.Stop()
	seen := uint64(0)
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		written := s.written.Load()
		if written == seen {
			continue
		}
		seen = written
		if used := s.db.Metrics().DiskSpaceUsage(); used < garbageMost || used < garbageShare*uint64(max(0, s.live.Load())) {
			continue
		}
		// An error is told where it matters: when something is written or read.
		_ = s.db.Compact(ctx, []byte{0}, []byte{0xff}, false)
	}
}

// Live adds to the bytes that are in the folder and needed, which tell how much of it is garbage. It may be called at any time.
func (s *Store) Live(bytes int64) { s.live.Add(bytes) }
