package store

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
)

// confirmedName is the file that says which batch was confirmed last.
const confirmedName = "CONFIRMED"

// confirmedFile holds one number with a checksum. It is written after a batch is on disk and before anybody is told so, and not synced: a process
// that is killed leaves what it wrote, and a machine that fails may leave an older number, which only checks less.
type confirmedFile struct {
	file *os.File
	name string
	read uint64
}

const confirmedSize = 12

func openConfirmed(name string, isNew bool) (*confirmedFile, error) {
	flags := os.O_RDWR
	if isNew {
		flags |= os.O_CREATE | os.O_TRUNC
	}
	file, err := os.OpenFile(name, flags, 0o600)
	if err != nil {
		return nil, err
	}
	c := &confirmedFile{file: file, name: name}
	if isNew {
		if err := c.write(0); err != nil {
			return nil, err
		}
		return c, file.Sync()
	}
	var b [confirmedSize + 1]byte
	n, _ := file.ReadAt(b[:], 0) // too few bytes are told below
	var ok bool
	if c.read, ok = parseConfirmed(b[:n]); !ok {
		file.Close()
		return nil, fmt.Errorf("%s is damaged", name)
	}
	return c, nil
}

func parseConfirmed(b []byte) (number uint64, ok bool) {
	if len(b) != confirmedSize || crc32.ChecksumIEEE(b[:8]) != binary.BigEndian.Uint32(b[8:]) {
		return 0, false
	}
	return binary.BigEndian.Uint64(b), true
}

// last is the number that the file had when it was opened.
func (c *confirmedFile) last() uint64 { return c.read }

func (c *confirmedFile) write(number uint64) error {
	var b [confirmedSize]byte
	binary.BigEndian.PutUint64(b[:], number)
	binary.BigEndian.PutUint32(b[8:], crc32.ChecksumIEEE(b[:8]))
	_, err := c.file.WriteAt(b[:], 0)
	return err
}

func (c *confirmedFile) close() error { return c.file.Close() }

func writeSynced(name string, b []byte) error {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if _, err := f.Write(b); err != nil {
		f.Close()
		return err
	}
	if err := f.Sync(); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

func syncDir(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
