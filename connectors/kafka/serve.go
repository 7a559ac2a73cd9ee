package kafka

import "github.com/segmentio/kafka-go/protocol"

// serve hands over what was fetched: first the rest of what is decoded, then
// as many batches of the oldest payload as one piece may hold.
func (f *fetcher) serve() (*piece, error) {
	if f.served < len(f.out.values) {
		return f.window(f.piece.next), nil
	}
	if len(f.ready) == 0 {
		return nil, nil
	}
	w := f.ready[0]
	f.out.reset()
	f.ends, f.served = f.ends[:0], 0
	begin := w.next
	for len(w.rest) > 0 && len(f.out.values) < maxMessages && len(f.out.arena) < maxArena {
		if len(f.ends) > 0 && f.watch.wary(w.part.id, w.next) {
			break
		}
		err := f.open(w)
		if err != nil && len(f.ends) > 0 {
			break // hand over what stands before it first
		}
		if err != nil {
			return nil, err
		}
	}
	if len(w.rest) == 0 {
		w.next = w.after
	}
	f.out.slack()
	f.piece.part = w.part
	return f.window(begin), nil
}

// open decodes the next batch of w if its records may be seen, and steps over
// it.
func (f *fetcher) open(w *payload) error {
	b, rest, ok, err := nextBatch(w.rest)
	bad := func(err error) error {
		return &BatchError{Partition: w.part.id, Offset: w.next, End: b.last + 1, err: err}
	}
	if err != nil || !ok {
		b.last = -1
		return bad(errMalformed) // survey has let it pass
	}
	if err := f.watch.admit(w.part.id, w.next, b.last); err != nil {
		return err
	}
	f.watch.mark(w.part.id, w.next, b.last+1)
	for len(w.aborted) > 0 && w.aborted[0].first <= b.last {
		if w.hidden == nil {
			w.hidden = make(map[int64]bool)
		}
		w.hidden[w.aborted[0].producer] = true
		w.aborted = w.aborted[1:]
	}
	switch transactional := b.attributes&protocol.Transactional != 0; {
	case b.attributes&protocol.Control != 0:
		abort, ok := isAbort(b.records)
		if !ok {
			return bad(errMalformed)
		}
		if abort {
			delete(w.hidden, b.producer)
		}
	case transactional && w.hidden[b.producer]:
		// aborted
	default:
		if err := f.reader.decode(&f.out, &b, w.next, w.part.strict); err != nil {
			return bad(err)
		}
	}
	f.ends = append(f.ends, batchEnd{len(f.out.values), anchor{true, b.first, b.crc}})
	w.next = max(w.next, b.last+1)
	w.rest = rest
	return nil
}

// window cuts the next piece off what is decoded. It begins at an offset that
// is not always that of a record.
func (f *fetcher) window(begin int64) *piece {
	p := &f.piece
	p.lo, p.hi = f.served, len(f.out.values)
	p.next, p.anchor = f.ready[0].next, anchor{}
	if n := len(f.ends); n > 0 {
		p.anchor = f.ends[n-1].anchor
	}
	if p.hi-p.lo > maxMessages || len(f.out.arena) > 2*maxArena {
		hi, size := p.lo, 0
		for hi < p.hi && hi-p.lo < maxMessages && size < maxArena {
			if v := f.out.values[hi]; v != null {
				size += int(v.Len)
			}
			if len(f.out.headers) > 0 {
				size += int(f.out.headers[hi].Len)
			}
			hi++
		}
		if hi < p.hi {
			p.hi, p.next = hi, f.out.offsets[hi-1]+1
			for _, e := range f.ends {
				if e.rows >= hi {
					p.anchor = e.anchor
					break
				}
			}
		}
	}
	f.served = p.hi
	f.watch.mark(p.part.id, begin, max(p.next, begin+1))
	return p
}

// release lets go of the payload that was handed over last, once all of it
// was. It comes before the next fetch begins, which may have waited for that.
func (f *fetcher) release() {
	if f.piece.part == nil || f.served < len(f.out.values) {
		return
	}
	f.piece.part = nil
	w := f.ready[0]
	if len(w.rest) > 0 {
		return
	}
	f.ready = f.ready[1:]
	w.part.held--
	if w.frame.uses--; w.frame.uses == 0 {
		f.bytes -= len(w.frame.buf)
		f.frames = append(f.frames, w.frame.buf)
	}
}
