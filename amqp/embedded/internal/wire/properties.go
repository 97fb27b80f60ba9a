package wire

import (
	"encoding/binary"
)

// Properties are a message's properties: what the content header holds beside the size of the body.
type Properties struct {
	set             uint16 // flags of the properties that are there
	ContentType     string
	ContentEncoding string
	Headers         Table
	DeliveryMode    uint8
	Priority        uint8
	CorrelationID   string
	ReplyTo         string
	Expiration      string
	MessageID       string
	Timestamp       uint64
	Type            string
	UserID          string
	AppID           string
	ClusterID       string
}

// The flags of the properties, from the first.
const (
	flagContentType = 1 << (15 - iota)
	flagContentEncoding
	flagHeaders
	flagDeliveryMode
	flagPriority
	flagCorrelationID
	flagReplyTo
	flagExpiration
	flagMessageID
	flagTimestamp
	flagType
	flagUserID
	flagAppID
	flagClusterID
)

// headerStart is how many bytes of a content header are before the list of properties: class, weight and the size of the body.
const headerStart = 12

// ReadHeader reads a content header: the size of the body, and the properties.
func ReadHeader(payload []byte) (size uint64, p Properties, err error) {
	d := NewDecoder(payload)
	class := d.Short()
	d.Short() // weight, which is not used
	size = d.LongLong()
	if d.Err != nil || class != ClassBasic {
		return 0, p, ErrSyntax
	}
	p, err = ReadList(d.Rest())
	return size, p, err
}

// List is the list of properties in the payload of a content header that was read, as it stands there.
func List(payload []byte) []byte { return payload[headerStart:] }

// ReadList reads a list of properties: flags, and the values of those that are there.
func ReadList(list []byte) (p Properties, err error) {
	d := NewDecoder(list)
	p.set = d.Short()
	if d.Err != nil || p.set&3 != 0 {
		return p, ErrSyntax
	}
	text := func(flag uint16, s *string) {
		if p.set&flag != 0 {
			*s = d.ShortString()
		}
	}
	text(flagContentType, &p.ContentType)
	text(flagContentEncoding, &p.ContentEncoding)
	if p.set&flagHeaders != 0 {
		p.Headers = d.Table()
	}
	if p.set&flagDeliveryMode != 0 {
		p.DeliveryMode = d.Octet()
	}
	if p.set&flagPriority != 0 {
		p.Priority = d.Octet()
	}
	text(flagCorrelationID, &p.CorrelationID)
	text(flagReplyTo, &p.ReplyTo)
	text(flagExpiration, &p.Expiration)
	text(flagMessageID, &p.MessageID)
	if p.set&flagTimestamp != 0 {
		p.Timestamp = d.LongLong()
	}
	text(flagType, &p.Type)
	text(flagUserID, &p.UserID)
	text(flagAppID, &p.AppID)
	text(flagClusterID, &p.ClusterID)
	if d.Err == nil && len(d.Rest()) > 0 {
		d.Err = ErrSyntax
	}
	return p, d.Err
}

// HasExpiration reports whether the property is there at all.
func (p *Properties) HasExpiration() bool { return p.set&flagExpiration != 0 }

// DropExpiration takes the property away.
func (p *Properties) DropExpiration() {
	p.set &^= flagExpiration
	p.Expiration = ""
}

// AppendHeader appends the payload of a content header.
func (p *Properties) AppendHeader(b []byte, size int) []byte {
	return p.AppendList(appendHeaderStart(b, size))
}

// AppendHeader appends the payload of a content header with the list of properties as it is.
func AppendHeader(b []byte, size int, list []byte) []byte {
	return append(appendHeaderStart(b, size), list...)
}

func appendHeaderStart(b []byte, size int) []byte {
	b = binary.BigEndian.AppendUint16(b, ClassBasic)
	b = append(b, 0, 0)
	return binary.BigEndian.AppendUint64(b, uint64(size))
}

// AppendList appends the list of properties.
func (p *Properties) AppendList(b []byte) []byte {
	set := p.set &^ flagHeaders
	if len(p.Headers) > 0 {
		set |= flagHeaders
	}
	b = binary.BigEndian.AppendUint16(b, set)
	text := func(flag uint16, s string) {
		if set&flag != 0 {
			b = AppendShortString(b, s)
		}
	}
	text(flagContentType, p.ContentType)
	text(flagContentEncoding, p.ContentEncoding)
	if set&flagHeaders != 0 {
		b = AppendTable(b, p.Headers)
	}
	if set&flagDeliveryMode != 0 {
		b = append(b, p.DeliveryMode)
	}
	if set&flagPriority != 0 {
		b = append(b, p.Priority)
	}
	text(flagCorrelationID, p.CorrelationID)
	text(flagReplyTo, p.ReplyTo)
	text(flagExpiration, p.Expiration)
	text(flagMessageID, p.MessageID)
	if set&flagTimestamp != 0 {
		b = binary.BigEndian.AppendUint64(b, p.Timestamp)
	}
	text(flagType, p.Type)
	text(flagUserID, p.UserID)
	text(flagAppID, p.AppID)
	text(flagClusterID, p.ClusterID)
	return b
}
