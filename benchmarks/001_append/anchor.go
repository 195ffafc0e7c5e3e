// SPDX-License-Identifier: Apache-2.0

// The anchor of benchmarks/001_append: the same writers as one writes them in Go, each behind a
// mutex. Prints the seconds from the first record to the end of the last sync.
package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

type writer interface {
	write(record []byte) error
	sync() error
}

// One write for each record.
type direct struct {
	mutex sync.Mutex
	file  *os.File
}

func (d *direct) write(record []byte) error {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	_, err := d.file.Write(record)
	return err
}

func (d *direct) sync() error { return d.file.Sync() }

// bufio.
type buffered struct {
	mutex  sync.Mutex
	file   *os.File
	stream *bufio.Writer
}

func (b *buffered) write(record []byte) error {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	_, err := b.stream.Write(record)
	return err
}

func (b *buffered) sync() error {
	if err := b.stream.Flush(); err != nil {
		return err
	}
	return b.file.Sync()
}

// A fixed buffer, flushed when the next record does not fit.
type pages struct {
	mutex  sync.Mutex
	file   *os.File
	buffer []byte
	used   int
}

func (p *pages) flush() error {
	if p.used == 0 {
		return nil
	}
	_, err := p.file.Write(p.buffer[:p.used])
	p.used = 0
	return err
}

func (p *pages) write(record []byte) error {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if p.used+len(record) > len(p.buffer) {
		if err := p.flush(); err != nil {
			return err
		}
		if len(record) > len(p.buffer) {
			_, err := p.file.Write(record)
			return err
		}
	}
	p.used += copy(p.buffer[p.used:], record)
	return nil
}

func (p *pages) sync() error {
	if err := p.flush(); err != nil {
		return err
	}
	return p.file.Sync()
}

// A mapped file of a fixed size.
type mapped struct {
	mutex  sync.Mutex
	memory []byte
	used   int
}

func (m *mapped) write(record []byte) error {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	if m.used+len(record) > len(m.memory) {
		return errors.New("the file is full")
	}
	m.used += copy(m.memory[m.used:], record)
	return nil
}

func (m *mapped) sync() error {
	_, _, code := syscall.Syscall(syscall.SYS_MSYNC, uintptr(unsafe.Pointer(&m.memory[0])),
		uintptr(len(m.memory)), syscall.MS_SYNC)
	if code != 0 {
		return code
	}
	return nil
}

func open(method, path string, buffer, total int) (writer, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	switch method {
	case "direct":
		return &direct{file: file}, nil
	case "buffered":
		return &buffered{file: file, stream: bufio.NewWriterSize(file, buffer)}, nil
	case "aligned":
		return &pages{file: file, buffer: make([]byte, buffer)}, nil
	case "mmap":
		if err := file.Truncate(int64(total)); err != nil {
			return nil, err
		}
		memory, err := syscall.Mmap(int(file.Fd()), 0, total, syscall.PROT_READ|syscall.PROT_WRITE,
			syscall.MAP_SHARED)
		return &mapped{memory: memory}, err
	}
	return nil, fmt.Errorf("no method %q", method)
}

func run() error {
	method := flag.String("method", "aligned", "direct, buffered, aligned or mmap")
	path := flag.String("path", "", "file to write")
	buffer := flag.Int("buffer", 16384, "bytes")
	size := flag.Int("record", 1024, "bytes")
	count := flag.Int("count", 1000, "records of all threads together")
	threads := flag.Int("threads", 1, "goroutines")
	end := flag.Bool("sync", false, "sync once at the end")
	flag.Parse()
	out, err := open(*method, *path, *buffer, *size**count)
	if err != nil {
		return err
	}
	defer os.Remove(*path)
	record := make([]byte, *size)
	for i := range record {
		record[i] = byte(i % 256)
	}
	var group sync.WaitGroup
	failures := make([]error, *threads)
	begin := time.Now()
	for thread := 0; thread < *threads; thread++ {
		group.Add(1)
		go func(thread int) {
			defer group.Done()
			for i := thread; i < *count && failures[thread] == nil; i += *threads {
				failures[thread] = out.write(record)
			}
		}(thread)
	}
	group.Wait()
	if *end {
		failures = append(failures, out.sync())
	}
	seconds := time.Since(begin).Seconds()
	fmt.Printf("%.9f\n", seconds)
	return errors.Join(failures...)
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
