"""CVs as lines of text on a page, what is true of them, and what a reader of CVs has to choose between."""

from __future__ import annotations

from typing import Any

# Other lay-outs than the page's, as x, y, height in pixels and text: dates at the right and entries in two rows; two
# columns; a typewriter's one size; what was done below each entry.
LAYOUTS = {
    "rows": """\
320 30 34 CURRICULUM VITAE
60 90 20 Kofi Mensah
60 118 20 Electrician
60 146 20 12 Ring Road, Accra
60 174 20 Tel: (030) 555 0199
400 174 20 Email: kofi@mensah.example.com
60 230 22 EDUCATION AND TRAINING
60 266 19 Diploma in electrical work
700 266 19 2011
60 290 19 Accra Technical University
60 340 22 WORK HISTORY
60 376 19 Volta Power
700 376 19 2015 - present
60 400 19 Electrician
60 440 19 Hotel Bristol
700 440 19 06/2011 - 12/2014
60 464 19 Caretaker
60 520 22 KEY SKILLS
60 556 19 - Wiring
60 580 19 - Solar panels
60 604 19 - First aid""",
    "columns": """\
330 40 34 Ingrid Olsen
330 84 20 Teacher of mathematics
50 130 22 Contact
50 165 17 ingrid.olsen@example.no
50 190 17 +47 22 55 50 11
50 240 22 Skills
50 275 17 Algebra
50 300 17 Statistics
50 325 17 Sign language
50 375 22 Languages
50 410 17 Norwegian, English
330 130 22 Profile
330 165 17 Teaches since 2010 and likes chess.
330 215 22 Employment
330 250 17 Teacher of mathematics at Bergen Cathedral School
330 274 17 2012 - today
330 310 17 Substitute teacher at City of Leeds
330 334 17 2010 - 2012
330 390 22 Studies
330 425 17 Master of Science, University of Oslo
330 449 17 2005 - 2010""",
    "typewriter": """\
80 60 20 Project manager
80 90 20 Li Wei
80 120 20 Shanghai, China
80 150 20 liwei@example.cn | +86 21 5555 0144
80 210 20 Qualifications:
80 240 20 2008 to 2012: BSc Logistics, Fudan University
80 300 20 Professional experience:
80 330 20 since 2017: Project manager, Yangtze Shipping
80 360 20 2012 to 2017: Dispatcher, Harbour of Ningbo
80 420 20 Expertise:
80 450 20 Planning; negotiation; Mandarin; SQL""",
    "bullets": """\
330 30 36 Daniel Novak
250 75 18 Brno, Czech Republic | daniel.novak@example.cz | +420 541 555 012
60 120 24 Summary
60 155 18 Software engineer with 8 years of experience in trading systems.
60 200 24 Professional Experience
60 235 19 Senior Software Engineer, Acme Trading s.r.o.
640 235 19 Jan 2020 – Present
80 260 17 • Built pipelines for market data, in C++ and Python
80 283 17 • Led a team of five
60 315 19 Software Engineer, Moravia Systems
640 315 19 Sep 2015 – Dec 2019
80 340 17 • Wrote tests, tools and reports
60 385 24 Education
60 420 19 Brno University of Technology
640 420 19 2010 – 2015
80 445 17 MSc Computer Science
60 490 24 Technical Skills
60 525 18 Languages: Python, C++, Rust
60 550 18 Tools: Git, Docker""",  # noqa: RUF001
}
TRUTHS: dict[str, dict[str, Any]] = {
    "own": {
        "name": "Mara Lindqvist",
        "email": "mara.lindqvist@example.org",
        "phone": "+46 70 555 01 23",
        "experience": [
            ("2019 - 2024", "Senior engineer", "Norrbro Consulting"),
            ("2014 - 2019", "Engineer", "Vasa Bridges AB"),
        ],
        "education": [
            ("2012 - 2014", "MSc Civil engineering, KTH Stockholm"),
            ("2009 - 2012", "BSc Physics, Lund University"),
        ],
        "skills": ["Finite elements", "Python", "timber", "risk analysis"],
    },
    "rows": {
        "name": "Kofi Mensah",
        "email": "kofi@mensah.example.com",
        "phone": "(030) 555 0199",
        "experience": [
            ("2015 - present", "Electrician", "Volta Power"),
            ("06/2011 - 12/2014", "Caretaker", "Hotel Bristol"),
        ],
        "education": [("2011", "Diploma in electrical work, Accra Technical University")],
        "skills": ["Wiring", "Solar panels", "First aid"],
    },
    "columns": {
        "name": "Ingrid Olsen",
        "email": "ingrid.olsen@example.no",
        "phone": "+47 22 55 50 11",
        "experience": [
            ("2012 - today", "Teacher of mathematics", "Bergen Cathedral School"),
            ("2010 - 2012", "Substitute teacher", "City of Leeds"),
        ],
        "education": [("2005 - 2010", "Master of Science, University of Oslo")],
        "skills": ["Algebra", "Statistics", "Sign language"],
    },
    "typewriter": {
        "name": "Li Wei",
        "email": "liwei@example.cn",
        "phone": "+86 21 5555 0144",
        "experience": [
            ("since 2017", "Project manager", "Yangtze Shipping"),
            ("2012 - 2017", "Dispatcher", "Harbour of Ningbo"),
        ],
        "education": [("2008 - 2012", "BSc Logistics, Fudan University")],
        "skills": ["Planning", "negotiation", "Mandarin", "SQL"],
    },
    "bullets": {
        "name": "Daniel Novak",
        "email": "daniel.novak@example.cz",
        "phone": "+420 541 555 012",
        "experience": [
            ("Jan 2020 - Present", "Senior Software Engineer", "Acme Trading s.r.o."),
            ("Sep 2015 - Dec 2019", "Software Engineer", "Moravia Systems"),
        ],
        "education": [("2010 - 2015", "Brno University of Technology, MSc Computer Science")],
        "skills": ["Python", "C++", "Rust", "Git", "Docker"],
    },
}
OWN = TRUTHS["own"]  # of the page's
SCANS = ((0, 0, 95), (-1.5, 14, 40), (2, 20, 30))  # degrees, deviation of the noise, quality of the JPEG
NOISY = (0, 60, 20)
# Lines as they stand above a CV; the name is the one with the star.
TOPS = """*Mara Lindqvist|Structural engineer|Storgatan 4, 114 55 Stockholm
Curriculum Vitae of|*Tomás Herrera|Registered nurse|12 Calle Mayor, Madrid
Project manager|*Li Wei|Shanghai, China
Open to new work|*Aisha Bello|Data analyst|Lagos
Florist and gardener|*Grace Hopkins|Bristol, United Kingdom
*Kofi Mensah|Electrician|Accra, Ghana
Personal profile|*Ingrid Olsen|Teacher of mathematics|Bergen
Backend developer|*Paolo Ricci|Via Roma 12, Torino
*Yuki Tanaka|Illustrator|Kyoto
Application for the post of head cook|*Marie Dubois|Lyon, France
*Dr. Samuel Okafor|Veterinary surgeon|Nairobi
Accountant|*Priya Raman|Chennai, India"""
JOBS = """Senior engineer, Norrbro Consulting
Engineer, Vasa Bridges AB
Registered nurse, Hospital La Paz
Ward manager, St Mary's Hospital
Data analyst, Zenith Bank
Gardener, Kew Gardens
Electrician, Volta Power
Teacher of mathematics, Bergen Cathedral School
Backend developer, Satispay
Junior developer, Olivetti
Illustrator, Kodansha
Head cook, Le Petit Jardin
Apprentice cook, Hotel Bristol
Veterinary surgeon, Kenya Wildlife Service
Accountant, Tata Motors
Auditor, Deloitte
Librarian, City of Leeds
Bus driver, Arriva
Research assistant, Lund University
Editor, The Daily Nation"""  # title, employer
