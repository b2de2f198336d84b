"""The operator's counter: everything that may be seen and changed of a running relay, over HTTP.

Its law: closed until ``[admin] api_key`` is set; a wrong key is found out cheaply or not at all;
one table says what there is, and routes, document and command line are made from it.
"""
